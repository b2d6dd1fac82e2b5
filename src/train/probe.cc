#include "train/probe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "io/tensor_file.h"
#include "models/load.h"
#include "ops/linear.h"
#include "train/batch.h"
#include "train/class_weights.h"
#include "train/evaluate.h"
#include "train/head.h"
#include "train/logistic.h"
#include "train/model_setup.h"
#include "train/run_end.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/state.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

using OrderedJson = nlohmann::ordered_json;
using Phase = TrainProgress::Phase;

class ProbeRun {
 public:
  ProbeRun(const TrainOptions& options, const TrainCallbacks& callbacks)
      : options_(options), callbacks_(callbacks) {}

  TrainResult run();

 private:
  std::string key() const;
  void recall();
  void keep() const;
  bool see_all();
  void see(const Dataset& data, std::int64_t first, std::int64_t begin, std::int64_t end);
  Tensor rows_of(std::int64_t begin, std::int64_t end) const;
  void put_head(const LogisticFit& fit);
  Evaluation evaluated(const LogisticFit& fit, std::int64_t first, const Dataset& data) const;
  void check_whole(const LogisticFit& fit) const;
  void write(const LogisticFit& fit, TrainResult& result);
  std::int64_t train_size() const { return data_.train->size(); }
  /// Of training, validation and test.
  std::int64_t size() const {
    return train_size() + (data_.val ? data_.val->size() : 0) + (data_.test ? data_.test->size() : 0);
  }
  bool stop() const { return callbacks_.should_stop && callbacks_.should_stop(); }
  void note(const std::string& text) const {
    if (callbacks_.note) callbacks_.note(text);
  }
  void report(Phase phase, std::int64_t done, std::int64_t total, double loss = 0.0) const {
    if (callbacks_.progress) callbacks_.progress({phase, done, total, 1, 1, 0.0, loss, 0.0});
  }

  TrainOptions options_;
  TrainCallbacks callbacks_;
  TrainModel model_;
  LinearHead head_;
  std::unique_ptr<Model> backbone_;
  Datasets data_;
  std::vector<float> weights_;
  Tensor features_;        // (pictures of training, validation, test; C)
  std::int64_t seen_ = 0;  // of them
  double started_ = 0.0;
};

TrainResult ProbeRun::run() {
  options_.check();
  require(!options_.init.empty(), "probe",
          "a probe trains the head of a model that has learned already; --init FILE names its checkpoint");
  require(!options_.resume, "probe", "a probe is not resumed: the same command finds its features again");
  if (options_.threads > 0) set_num_threads(options_.threads);
  options_.threads = num_threads();
  check_run_folder(options_);
  const auto classes = static_cast<std::int64_t>(dataset_classes(options_.data).size());
  model_ = build_train_model(options_, classes);
  for (const std::string& line : model_.notes) note(line);
  head_ = linear_head(*model_.model);
  if (options_.augment.any()) note("a probe looks at pictures as they are: augmentation is left out");
  try {
    data_ = open_datasets(options_.data, model_.form, [this](std::int64_t done, std::int64_t total) {
      report(Phase::loading, done, total);
      return !stop();
    });
  } catch (const Cancelled&) {
    return {};
  }
  for (const std::string& line : data_.notes) note(line);
  for (const SkippedPicture& picture : data_.skipped)
    if (callbacks_.skipped) callbacks_.skipped(picture);
  weights_ = class_weights(options_.class_weights, *data_.train, data_.classes, callbacks_.note);
  note(
      fmt::format("{}: the head sees {} numbers of each picture of {} x {} x {}; {} to train on, {} to "
                  "validate on, {} classes",
                  model_.name, head_.width, model_.form.channels, model_.form.rows, model_.form.columns,
                  train_size(), data_.val ? data_.val->size() : 0, data_.classes.size()));
  started_ = clock_seconds();
  clear_run_folder(options_.out);
  backbone_ = headless(*model_.model, head_);
  TrainResult result;
  result.skipped = static_cast<std::int64_t>(data_.skipped.size());
  if (!see_all()) return result;

  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < train_size(); ++i) labels.push_back(data_.train->label(i));
  LogisticOptions logistic{.c = options_.probe_c, .class_weights = weights_};
  const LogisticFit fit =
      fit_logistic(rows_of(0, train_size()), labels, classes, logistic, [&](std::int64_t steps, double loss) {
        report(Phase::training, steps, logistic.search.most_steps, loss);
        return !stop();
      });
  if (fit.search.stopped) return result;
  if (!fit.search.converged)
    note(
        fmt::format("the head is not quite at its minimum after {} steps (gradient {:.1e}); a smaller "
                    "--probe-c has one that is nearer",
                    fit.search.steps, fit.search.gradient));
  put_head(fit);
  check_whole(fit);
  write(fit, result);
  return result;
}

/// What features depend on.
std::string ProbeRun::key() const {
  std::uint64_t hash = splitmix64(data_.train->fingerprint()) ^ (data_.val ? data_.val->fingerprint() : 0);
  hash = splitmix64(hash) ^ (data_.test ? data_.test->fingerprint() : 0);
  const std::string how = model_.form.to_json() + backbone_->family().name + backbone_->config();
  hash = hash_bytes(how.data(), how.size(), hash);
  for (const auto* part : {&data_.train, &data_.val, &data_.test})
    for (std::int64_t i = 0; *part != nullptr && i < (*part)->size(); ++i) {
      std::error_code unknown;  // a picture that was corrected in place has its size still
      const auto changed = fs::last_write_time((*part)->path(i), unknown).time_since_epoch().count();
      if (!unknown) hash = hash_bytes(&changed, sizeof(changed), hash);
    }
  for (const Parameter& p : model_.model->parameters()) {
    if (p.name == head_.weight || p.name == head_.bias) continue;
    hash = hash_bytes(p.name.data(), p.name.size(), hash);
    hash = hash_bytes(p.value.value().data(), static_cast<std::size_t>(p.value.value().bytes()), hash);
  }
  return fmt::format("{:016x}", hash);
}

/// Takes over what an earlier run has seen of the same.
void ProbeRun::recall() {
  const std::string path = features_path(options_.out);
  if (!fs::is_regular_file(path)) return;
  try {
    const auto file = open_tensor_file(path);
    const auto found = file->metadata().find("key");
    if (found == file->metadata().end() || found->second != key()) return;
    const Tensor kept = file->read("features");
    if (kept.shape().rank() != 2 || kept.dim(1) != head_.width || kept.dim(0) > size()) return;
    std::memcpy(features_.data(), kept.data(), static_cast<std::size_t>(kept.bytes()));
    seen_ = kept.dim(0);
    note(fmt::format("{}: features of {} pictures are there already", path, seen_));
  } catch (const Error& error) {
    note(fmt::format("{} is passed over: {}", path, error.what()));
  }
}

void ProbeRun::keep() const {
  write_safetensors(features_path(options_.out), {{"features", rows_of(0, seen_)}}, {{"key", key()}});
}

bool ProbeRun::see_all() {
  features_ = Tensor({size(), head_.width});
  recall();
  const std::int64_t before = seen_;
  while (seen_ < size()) {
    std::int64_t first = 0;
    const Dataset* at = nullptr;
    for (const auto* part : {&data_.train, &data_.val, &data_.test}) {
      if (*part == nullptr) continue;
      at = part->get();
      if (seen_ < first + at->size()) break;
      first += at->size();
    }
    const Dataset& data = *at;
    const std::int64_t end = std::min(seen_ - first + options_.batch, data.size());
    see(data, first, seen_ - first, end);
    seen_ = first + end;
    report(Phase::seeing, seen_, size());
    if (seen_ < size() && stop()) {
      keep();
      note(fmt::format("features of {} of {} pictures are kept; the same command goes on", seen_, size()));
      return false;
    }
  }
  if (seen_ > before) keep();
  return true;
}

void ProbeRun::see(const Dataset& data, std::int64_t first, std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  const Var out = backbone_->forward(Context{}, Var(load_batch(data, rows, model_.form)));
  require(out.value().shape() == Shape({end - begin, head_.width}), "probe", "features of shape {}",
          out.shape().str());
  std::memcpy(features_.data() + (first + begin) * head_.width, out.value().data(),
              static_cast<std::size_t>(out.value().bytes()));
}

Tensor ProbeRun::rows_of(std::int64_t begin, std::int64_t end) const { return features_.slice(begin, end); }

void ProbeRun::put_head(const LogisticFit& fit) {
  for (const Parameter& p : model_.model->parameters()) {
    if (p.name != head_.weight && p.name != head_.bias) continue;
    const Tensor& from = p.name == head_.weight ? fit.weight : fit.bias;
    Tensor to(p.shape);
    std::memcpy(to.data(), from.data(), static_cast<std::size_t>(to.bytes()));
    Var(p.value).assign(std::move(to));
  }
}

Tensor head_of(const LogisticFit& fit, const Tensor& features) {
  return linear(Context{}, Var(features), Var(fit.weight), Var(fit.bias)).value();
}

Evaluation ProbeRun::evaluated(const LogisticFit& fit, std::int64_t first, const Dataset& data) const {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < data.size(); ++i) labels.push_back(data.label(i));
  Evaluation out;
  out.add(head_of(fit, rows_of(first, first + data.size())), labels);
  out.measure();
  return out;
}

/// The whole model must say what the head says of its features.
void ProbeRun::check_whole(const LogisticFit& fit) const {
  const std::int64_t n = std::min<std::int64_t>(train_size(), 2);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  const Tensor whole =
      model_.model->forward(Context{}, Var(load_batch(*data_.train, rows, model_.form))).value();
  const Tensor parts = head_of(fit, rows_of(0, n));
  float largest = 1.0f, apart = 0.0f;
  for (std::int64_t i = 0; i < parts.numel(); ++i) {
    largest = std::max(largest, std::abs(parts[i]));
    apart = std::max(apart, std::abs(parts[i] - whole[i]));
  }
  require(apart <= 1e-3f * largest, "probe",
          "the model's answers and its head's differ by {} of {}: {} does more after its last linear layer; "
          "train it with the rest standing still: --recipe finetune --freeze N",
          apart, largest, model_.name);
}

void ProbeRun::write(const LogisticFit& fit, TrainResult& result) {
  result.finished = true;
  result.epoch = 1;
  result.step = fit.search.steps;
  std::vector<RunAnswers> answers;
  if (data_.val) answers.push_back({"val", evaluated(fit, train_size(), *data_.val), data_.val});
  if (data_.test)
    answers.push_back({"test", evaluated(fit, size() - data_.test->size(), *data_.test), data_.test});
  if (data_.val) result.val_accuracy = result.best_accuracy = answers.front().evaluation.accuracy;
  if (data_.test) result.test_accuracy = answers.back().evaluation.accuracy;
  result.best_epoch = 1;
  result.seconds = clock_seconds() - started_;
  SaveOptions save{model_.name, model_.form, data_.classes, {{"training", options_.to_json()}}};
  save_model(model_path(options_.out), *model_.model, save);
  OrderedJson line{{"kind", "probe"},
                   {"steps", fit.search.steps},
                   {"loss", fit.search.value},
                   {"gradient", fit.search.gradient},
                   {"accuracy", evaluated(fit, 0, *data_.train).accuracy}};
  if (data_.val) line["val_accuracy"] = result.val_accuracy;
  line["seconds"] = std::round(result.seconds * 1e3) / 1e3;
  for (const SkippedPicture& picture : data_.skipped)
    append_log_line(log_path(options_.out),
                    OrderedJson{{"kind", "skip"}, {"picture", picture.path}, {"reason", picture.reason}}.dump(
                        -1, ' ', false, OrderedJson::error_handler_t::replace));
  append_log_line(log_path(options_.out), line.dump());
  write_run_end(options_, model_, data_, std::move(answers), result);
  if (callbacks_.log) callbacks_.log(line.dump());
}

}  // namespace

TrainResult train_probe(const TrainOptions& options, const TrainCallbacks& callbacks) {
  return ProbeRun(options, callbacks).run();
}

std::string features_path(const std::string& folder) {
  return (fs::path(folder) / "features.safetensors").string();
}

}  // namespace locant
