#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "train/augment.h"
#include "train/dataset.h"

namespace locant {

/// Everything that a run's numbers depend on, and where they go.
struct TrainOptions {
  DataOptions data;
  std::string model;  ///< registry name; empty: from `init`, or `config` names a family
  std::string
      config;        ///< JSON object whose keys override the model's configuration; "family" without a model
  std::string init;  ///< checkpoint to start from; a head of another class count starts at random
  std::string key;   ///< which of several models in it, by what stands before its names; empty: it tells
  std::vector<std::string> ignore;  ///< glob patterns of tensors in it that are left out
  std::string out;                  ///< folder: model.safetensors, state.safetensors, train.log.jsonl

  std::int64_t epochs = 100;
  std::int64_t batch = 64;
  double lr = 1e-3;
  double min_lr = 0.0;
  double warmup_epochs = -1.0;  ///< below 0: a twentieth of the epochs
  double weight_decay = 0.05;
  double clip = 5.0;  ///< largest gradient norm; 0: none
  double label_smoothing = 0.1;
  double drop_path = -1.0;  ///< below 0: as the model's configuration says
  double ema = 0.999;       ///< decay; 0: no average
  AugmentOptions augment;
  std::uint64_t seed = 0;
  int threads = 0;                 ///< 0: as set
  std::int64_t val_interval = 1;   ///< epochs between validations; the last epoch is always validated
  std::int64_t log_interval = 50;  ///< steps between lines of the log

  /// Continue the run in `out`. Its options are kept, but for `epochs`: with another number the rate follows
  /// from here on the cosine of a run of that many epochs, with the warm-up that this one began with.
  bool resume = false;
  bool force = false;  ///< replace a run in `out`

  /// Throws Error for a value out of range.
  void check() const;
  /// Every field but out, resume, force and data.strict. from_json throws Error.
  std::string to_json() const;
  static TrainOptions from_json(const std::string& text);
};

/// The options of the run in a folder, with `out` and `resume` set. Throws Error when there is no run.
TrainOptions resume_options(const std::string& folder);

struct TrainProgress {
  enum class Phase { loading, training, validating } phase = Phase::training;
  std::int64_t done = 0, total = 1;  ///< pictures, steps of the whole run, or pictures
  std::int64_t epoch = 0, epochs = 0;
  double lr = 0.0, loss = 0.0, accuracy = 0.0;  ///< means of this epoch so far
};

/// How a run talks: the library itself prints nothing. Any of them may be empty.
struct TrainCallbacks {
  std::function<void(const TrainProgress&)> progress;  ///< after each step
  std::function<void(const std::string&)> note;        ///< a line for people
  std::function<void(const std::string&)> log;         ///< a line of the log, a JSON object
  std::function<bool()> should_stop;                   ///< asked after each step: true saves and returns
  std::function<void(const SkippedPicture&)> skipped =
      {};  ///< a picture that is left out, before the first step
};

struct TrainResult {
  bool finished = false;   ///< false: stopped, resumable (unless nothing was begun: epoch 0, step 0)
  std::int64_t epoch = 0;  ///< epochs completed
  std::int64_t step = 0;   ///< steps done in all
  double val_accuracy = -1.0, ema_val_accuracy = -1.0;  ///< of the last validation; -1: none
  double seconds = 0.0;                                 ///< of training, earlier parts of the run included
  std::int64_t skipped = 0;                             ///< pictures that were left out
};

/// Trains a classifier. The numbers (weights, averages, log but for seconds) are the same bits for the same
/// options, data and thread count, whether the run was interrupted and resumed or not. The log: one JSON
/// object a line, {"kind": "skip", picture, reason} for each picture left out, {"kind": "step", epoch, step,
/// lr, loss, accuracy, seconds} each log_interval steps (means since the last such line) and {"kind":
/// "epoch", epoch, step, lr, loss, accuracy, val_accuracy, ema_val_accuracy, seconds} (means of the epoch;
/// the accuracies when validated). model.safetensors holds the averaged weights and running statistics (the
/// plain ones without EMA), which are what ema_val_accuracy is of, and is written after each epoch with
/// state.safetensors. Throws Error: bad options or data, a run already in `out`, a state of other options or
/// data, a loss that is not finite, a file that cannot be written. An Error before the first checkpoint
/// leaves no run in `out`.
TrainResult train(const TrainOptions& options, const TrainCallbacks& callbacks = {});

}  // namespace locant
