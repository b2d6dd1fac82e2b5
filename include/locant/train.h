// Training, evaluation, reports.
#pragma once

#include "train/confusion.h"
#include "train/evaluate.h"
#include "train/run_report.h"
#include "train/temperature.h"
#include "train/train.h"
