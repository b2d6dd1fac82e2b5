#pragma once

#include <string>
#include <vector>

#include "train/evaluate.h"
#include "train/model_setup.h"
#include "train/train.h"

namespace locant {

/// A finished run's last answers for a set of pictures.
struct RunAnswers {
  std::string name;  ///< "val", "test"
  Evaluation evaluation;
  std::shared_ptr<const Dataset> data;
};

/// Writes into OUT what a run was and what it can (train/run_report.h): report.json, split.csv, curves.png
/// where there were epochs, and a folder of each of `answers`. Throws Error when a file cannot be written.
void write_run_end(const TrainOptions& options, const TrainModel& model, const Datasets& data,
                   std::vector<RunAnswers> answers, const TrainResult& result);

}  // namespace locant
