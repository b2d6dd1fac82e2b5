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

  /// Fit the head alone, on what it sees of each picture as it is (train/probe.h); of the options below,
  /// `batch` and `class_weights` count.
  bool probe = false;
  double probe_c = 1.0;  ///< inverse strength of its penalty, scikit-learn's C
  std::int64_t epochs = 100;
  std::int64_t batch = 64;          ///< pictures at once
  std::int64_t grad_accum = 1;      ///< batches a step, whose gradients are averaged
  std::string optimizer = "adamw";  ///< or "sgd"
  double momentum = 0.9;            ///< of sgd
  double lr = 1e-3;
  double layer_decay = 1.0;  ///< rates fall by this from layer to layer towards the input (train/layers.h)
  std::int64_t freeze = 0;   ///< layers, from the input on, that stand still
  std::vector<std::string> freeze_names;  ///< glob patterns of parameters that stand still
  double min_lr = 0.0;
  double warmup_epochs = -1.0;  ///< below 0: a twentieth of the epochs
  double weight_decay = 0.05;
  double clip = 5.0;                ///< largest gradient norm; 0: none
  bool grad_checkpointing = false;  ///< blocks keep nothing between forward and backward: less memory, a
                                    ///< third more work, the same numbers
  double label_smoothing = 0.1;
  std::string class_weights = "none";  ///< or "balanced": pictures / (classes * pictures of the class)
  double drop_path = -1.0;             ///< below 0: as the model's configuration says
  double ema = 0.999;                  ///< decay; 0: no average
  AugmentOptions augment;
  std::uint64_t seed = 0;
  int threads = 0;                 ///< 0: as set
  std::int64_t val_interval = 1;   ///< epochs between validations; the last epoch is always validated
  std::int64_t log_interval = 50;  ///< steps between lines of the log
  std::int64_t patience = 0;  ///< epochs without a better validation after which a run ends; 0: never. Above
                              ///< 0 best.safetensors holds the best epoch's weights

  /// Continue the run in `out`. Its options are kept, but for `epochs`: with another number the rate follows
  /// from here on the cosine of a run of that many epochs, with the warm-up that this one began with.
  bool resume = false;
  bool force = false;  ///< replace a run in `out`

  std::vector<std::string> command = {};  ///< words of a command line, for the run's report

  /// Throws Error for a value out of range.
  void check() const;
  /// Every field but out, resume, force, command and data.strict. from_json throws Error.
  std::string to_json() const;
  static TrainOptions from_json(const std::string& text);
};

/// The options of the run in a folder, with `out` and `resume` set. Throws Error when there is no run.
TrainOptions resume_options(const std::string& folder);

struct TrainProgress {
  /// seeing: a probe computes what the head sees.
  enum class Phase { loading, seeing, training, validating } phase = Phase::training;
  std::int64_t done = 0, total = 1;  ///< pictures; of training, steps of the whole run
  std::int64_t epoch = 0, epochs = 0;
  double lr = 0.0, loss = 0.0, accuracy = 0.0;  ///< means of this epoch so far
};

/// How a run talks: the library itself prints nothing. Any of them may be empty.
struct TrainCallbacks {
  std::function<void(const TrainProgress&)> progress = {};  ///< after each step
  std::function<void(const std::string&)> note = {};        ///< a line for people
  std::function<void(const std::string&)> log = {};         ///< a line of the log, a JSON object
  std::function<bool()> should_stop = {};                   ///< asked after each step: true saves and returns
  std::function<void(const SkippedPicture&)> skipped =
      {};  ///< a picture that is left out, before the first step
};

struct TrainResult {
  bool finished = false;   ///< false: stopped, resumable (unless nothing was begun: epoch 0, step 0)
  std::int64_t epoch = 0;  ///< epochs completed
  std::int64_t step = 0;   ///< steps done in all
  double val_accuracy = -1.0, ema_val_accuracy = -1.0;  ///< of the last validation; -1: none
  double test_accuracy = -1.0;  ///< of what model.safetensors holds on test/, at the end; -1: none
  double best_accuracy = -1.0;  ///< of the validations so far, averaged weights where there are such
  std::int64_t best_epoch = 0;  ///< whose it is
  double seconds = 0.0;         ///< of training, earlier parts of the run included
  std::int64_t skipped = 0;     ///< pictures that were left out
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
/// leaves no run in `out`. A run that has ended writes its report besides (train/run_end.h).
TrainResult train(const TrainOptions& options, const TrainCallbacks& callbacks = {});

}  // namespace locant
