#include "train/state.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "core/error.h"
#include "io/tensor_file.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFormat = "locant train state 2";

// Doubles as "%a": the same bits come back.
std::string exact(double value) { return fmt::format("{:a}", value); }

class Fields {
 public:
  explicit Fields(const TensorFile& file) : file_(file) {}

  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    require(found != file_.metadata().end(), "train", "{}: the state has no \"{}\"", file_.path(), key);
    return found->second;
  }
  double number(const std::string& key) const {
    const std::string& value = text(key);
    char* end = nullptr;
    const double parsed = std::strtod(value.c_str(), &end);
    require(!value.empty() && *end == '\0', "train", "{}: \"{}\" is \"{}\", not a number", file_.path(), key,
            value);
    return parsed;
  }
  std::int64_t count(const std::string& key) const {
    const std::string& value = text(key);
    char* end = nullptr;
    errno = 0;
    const long long parsed = std::strtoll(value.c_str(), &end, 10);
    require(!value.empty() && *end == '\0' && errno == 0 && parsed >= 0, "train",
            "{}: \"{}\" is \"{}\", not a count", file_.path(), key, value);
    return parsed;
  }
  std::uint64_t hash(const std::string& key) const {
    const std::string& value = text(key);
    char* end = nullptr;
    const unsigned long long parsed = std::strtoull(value.c_str(), &end, 16);
    require(!value.empty() && *end == '\0', "train", "{}: \"{}\" is \"{}\", not a hash", file_.path(), key,
            value);
    return parsed;
  }
  Meter meter(const std::string& key) const {
    return {number(key + ".loss"), count(key + ".correct"), count(key + ".seen")};
  }

 private:
  const TensorFile& file_;
};

std::unique_ptr<TensorFile> open_state(const std::string& folder) {
  require(fs::is_regular_file(state_path(folder)), "train", "{}: no run to resume (no state.safetensors)",
          folder);
  auto file = open_tensor_file(state_path(folder));
  const auto found = file->metadata().find("format");
  require(found != file->metadata().end() && found->second == kFormat, "train",
          "{}: not a training state of this version", file->path());
  return file;
}

}  // namespace

std::string state_path(const std::string& folder) {
  return (fs::path(folder) / "state.safetensors").string();
}
std::string model_path(const std::string& folder) {
  return (fs::path(folder) / "model.safetensors").string();
}
std::string best_path(const std::string& folder) { return (fs::path(folder) / "best.safetensors").string(); }
std::string log_path(const std::string& folder) { return (fs::path(folder) / "train.log.jsonl").string(); }

void save_state(const std::string& folder, const TrainState& s, const NamedTensors& tensors) {
  std::map<std::string, std::string> fields{{"format", kFormat},
                                            {"options", s.options},
                                            {"data", fmt::format("{:x}", s.data)},
                                            {"epoch", std::to_string(s.epoch)},
                                            {"epoch_step", std::to_string(s.epoch_step)},
                                            {"step", std::to_string(s.step)},
                                            {"seconds", exact(s.seconds)},
                                            {"log_bytes", std::to_string(s.log_bytes)},
                                            {"val_accuracy", exact(s.val_accuracy)},
                                            {"ema_val_accuracy", exact(s.ema_val_accuracy)},
                                            {"best_accuracy", exact(s.best_accuracy)},
                                            {"best_epoch", std::to_string(s.best_epoch)}};
  const auto add_meter = [&fields](const std::string& key, const Meter& meter) {
    fields[key + ".loss"] = exact(meter.loss);
    fields[key + ".correct"] = std::to_string(meter.correct);
    fields[key + ".seen"] = std::to_string(meter.seen);
  };
  add_meter("epoch_meter", s.epoch_meter);
  add_meter("log_meter", s.log_meter);
  write_safetensors(state_path(folder), tensors, fields);
}

TrainState load_state(const std::string& folder,
                      const std::function<void(const std::string&, const Tensor&)>& give) {
  const auto file = open_state(folder);
  const Fields fields(*file);
  TrainState s;
  s.options = fields.text("options");
  s.data = fields.hash("data");
  s.epoch = fields.count("epoch");
  s.epoch_step = fields.count("epoch_step");
  s.step = fields.count("step");
  s.epoch_meter = fields.meter("epoch_meter");
  s.log_meter = fields.meter("log_meter");
  s.seconds = fields.number("seconds");
  s.log_bytes = fields.count("log_bytes");
  s.val_accuracy = fields.number("val_accuracy");
  s.ema_val_accuracy = fields.number("ema_val_accuracy");
  s.best_accuracy = fields.number("best_accuracy");
  s.best_epoch = fields.count("best_epoch");
  for (const TensorInfo& info : file->tensors()) give(info.name, file->read(info.name));
  return s;
}

std::string read_state_options(const std::string& folder) {
  const auto file = open_state(folder);
  return Fields(*file).text("options");
}

}  // namespace locant
