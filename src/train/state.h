#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace locant {

/// Sums over some pictures.
struct Meter {
  double loss = 0.0;  ///< times pictures
  std::int64_t correct = 0, seen = 0;

  void add(double batch_loss, std::int64_t batch_correct, std::int64_t batch) {
    loss += batch_loss * static_cast<double>(batch);
    correct += batch_correct;
    seen += batch;
  }
  double mean_loss() const { return seen > 0 ? loss / static_cast<double>(seen) : 0.0; }
  double accuracy() const {
    return seen > 0 ? static_cast<double>(correct) / static_cast<double>(seen) : 0.0;
  }
};

/// Where a run stands. With the tensors beside it, a run continues to the bit: every random draw is a
/// function of the seed and these counters.
struct TrainState {
  std::string options;           ///< TrainOptions::to_json()
  std::uint64_t data = 0;        ///< Dataset::fingerprint of training and validation together
  std::int64_t epoch = 0;        ///< epochs completed
  std::int64_t epoch_step = 0;   ///< steps done in the epoch under way
  std::int64_t step = 0;         ///< steps done in all
  Meter epoch_meter, log_meter;  ///< since the epoch, the last step line began
  double seconds = 0.0;
  std::int64_t log_bytes = 0;  ///< length of the log that belongs to this state
  double val_accuracy = -1.0, ema_val_accuracy = -1.0;
  double best_accuracy = -1.0;
  std::int64_t best_epoch = 0;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

std::string state_path(const std::string& folder);
std::string model_path(const std::string& folder);
std::string best_path(const std::string& folder);
std::string log_path(const std::string& folder);

/// Atomic: a crash leaves the old state or the new one.
void save_state(const std::string& folder, const TrainState& state, const NamedTensors& tensors);
/// Reads a state; `give(name, tensor)` sees each tensor. Throws Error when there is none, or a field is
/// missing or broken.
TrainState load_state(const std::string& folder,
                      const std::function<void(const std::string&, const Tensor&)>& give);
/// The options alone.
std::string read_state_options(const std::string& folder);

}  // namespace locant
