#include "train/train.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "models/load.h"
#include "ops/loss.h"
#include "train/adamw.h"
#include "train/ema.h"
#include "train/evaluate.h"
#include "train/model_setup.h"
#include "train/random_streams.h"
#include "train/schedule.h"
#include "train/state.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;
using Phase = TrainProgress::Phase;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One run, from opening the data to the last checkpoint.
class Trainer {
 public:
  Trainer(const TrainOptions& options, const TrainCallbacks& callbacks)
      : options_(options), callbacks_(callbacks) {}

  TrainResult run();

 private:
  bool open_data();
  void open_model();
  void check_folder() const;
  void clear_folder() const;
  void resume();
  bool train_epoch();
  void train_step(const std::vector<std::int64_t>& rows);
  bool validate();
  double accuracy_of(bool averaged, bool* complete);
  void checkpoint() const;
  void write_model() const;
  void log(const Json& line);
  void log_step(double lr);
  void log_epoch();
  void report(Phase phase, std::int64_t done, std::int64_t total);
  double seconds() const { return state_.seconds + (now() - started_); }
  bool stop() const { return callbacks_.should_stop && callbacks_.should_stop(); }
  void note(const std::string& text) const {
    if (callbacks_.note) callbacks_.note(text);
  }
  TrainResult result(bool finished) const;

  TrainOptions options_;
  TrainCallbacks callbacks_;
  TrainModel model_;
  Datasets data_;
  CosineSchedule schedule_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<Ema> ema_;
  TrainState state_;
  std::int64_t steps_per_epoch_ = 0;
  double started_ = 0.0, lr_ = 0.0;
};

TrainResult Trainer::run() {
  options_.check();
  if (options_.threads > 0) set_num_threads(options_.threads);
  options_.threads = num_threads();
  check_folder();
  open_model();
  if (!open_data()) return {};
  started_ = now();
  if (options_.resume)
    resume();
  else
    clear_folder();
  while (state_.epoch < options_.epochs) {
    if (!train_epoch() || !validate()) {
      checkpoint();
      return result(false);
    }
    ++state_.epoch;
    log_epoch();
    state_.epoch_step = 0;
    state_.epoch_meter = {};
    checkpoint();
    if (state_.epoch < options_.epochs && stop()) return result(false);
  }
  return result(true);
}

std::vector<std::string> run_files(const std::string& folder) {
  return {state_path(folder), model_path(folder), log_path(folder)};
}

void Trainer::check_folder() const {
  if (options_.resume || options_.force) return;
  for (const std::string& path : run_files(options_.out))
    require(!fs::exists(path), "train",
            "{} holds a run already; --resume {} continues it, --force replaces it", options_.out,
            options_.out);
}

// Only when everything else is in order: an error must not cost an older run.
void Trainer::clear_folder() const {
  std::error_code error;
  fs::create_directories(options_.out, error);
  require(fs::is_directory(options_.out), "train", "cannot make the folder {}: {}", options_.out,
          error.message());
  for (const std::string& path : run_files(options_.out)) fs::remove(path, error);
}

void Trainer::open_model() {
  const std::vector<std::string> classes = dataset_classes(options_.data);
  model_ = build_train_model(options_, static_cast<std::int64_t>(classes.size()));
  for (const std::string& line : model_.notes) note(line);
  AdamWOptions adamw;
  adamw.weight_decay = options_.weight_decay;
  optimizer_ = std::make_unique<AdamW>(model_.model->parameters(), adamw);
  if (options_.ema > 0.0) ema_ = std::make_unique<Ema>(model_.model->parameters(), options_.ema);
}

bool Trainer::open_data() {
  try {
    data_ = open_datasets(options_.data, model_.form, [this](std::int64_t done, std::int64_t total) {
      report(Phase::loading, done, total);
      return !stop();
    });
  } catch (const Stopped&) {
    return false;
  }
  for (const std::string& line : data_.notes) note(line);
  const std::int64_t size = data_.train->size();
  steps_per_epoch_ = (size + options_.batch - 1) / options_.batch;
  const double warmup =
      options_.warmup_epochs < 0.0 ? 0.05 * static_cast<double>(options_.epochs) : options_.warmup_epochs;
  schedule_ = {options_.lr, options_.min_lr, std::llround(warmup * static_cast<double>(steps_per_epoch_)),
               options_.epochs * steps_per_epoch_};
  state_.options = options_.to_json();
  state_.data = splitmix64(data_.train->fingerprint()) ^ (data_.val ? data_.val->fingerprint() : 0);
  std::int64_t numbers = 0;
  for (const Parameter& p : model_.model->parameters()) numbers += p.shape.numel();
  note(fmt::format("{}: {} parameters, pictures {} x {} x {}; {} to train on, {} to validate on, {} classes",
                   model_.name, numbers, model_.form.channels, model_.form.rows, model_.form.columns, size,
                   data_.val ? data_.val->size() : 0, data_.classes.size()));
  return true;
}

void Trainer::resume() {
  std::map<std::string, Tensor> tensors;
  TrainState state =
      load_state(options_.out, [&](const std::string& name, const Tensor& t) { tensors[name] = t; });
  const Json was = Json::parse(state.options, nullptr, false), is = Json::parse(state_.options);
  require(was.is_object(), "train", "{}: the options in it are broken", state_path(options_.out));
  for (const auto& [key, value] : is.items()) {
    const Json before = was.contains(key) ? was[key] : Json();
    if (before == value || key == "data" || key == "val")
      continue;  // data may have moved: its content is checked below
    if (key == "threads")
      note(fmt::format("the run had {} threads, now {}: numbers will agree to rounding only", before.dump(),
                       value.dump()));
    else
      fail("train", "the run in {} has {} {}, not {}; start a new one with --init to change it", options_.out,
           key, before.dump(), value.dump());
  }
  require(state.data == state_.data, "train", "{} is not the data that the run in {} was trained on",
          options_.data.path, options_.out);
  const auto find = [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? Tensor() : found->second;
  };
  for (const Parameter& p : model_.model->parameters()) {
    const Tensor value = find("w." + p.name);
    require(value.defined() && value.shape() == p.shape, "train", "{}: {} is missing or of another shape",
            state_path(options_.out), p.name);
    Var(p.value).assign(value.clone());
  }
  optimizer_->restore(state.step, find);
  if (ema_) ema_->restore(state.step, [&](const std::string& name) { return find("ema." + name); });
  state.options = state_.options;
  state_ = state;
  require(state_.epoch <= options_.epochs && state_.epoch_step <= steps_per_epoch_, "train",
          "{}: epoch {} step {} is not in the run", state_path(options_.out), state_.epoch,
          state_.epoch_step);
  // Lines that a killed process wrote after its last state are written again.
  std::error_code error;
  const auto log_size = static_cast<std::int64_t>(fs::file_size(log_path(options_.out), error));
  if (!error && log_size > state_.log_bytes)
    fs::resize_file(log_path(options_.out), static_cast<std::uintmax_t>(state_.log_bytes), error);
  else
    state_.log_bytes = error ? 0 : log_size;
  // The process may have died between the last state and its model.
  if (state_.epoch > 0 && state_.epoch_step == 0) write_model();
  note(fmt::format("resumed after epoch {}, step {} of {} of the next", state_.epoch, state_.epoch_step,
                   steps_per_epoch_));
}

bool Trainer::train_epoch() {
  const std::vector<std::int64_t> order = shuffled_order(options_.seed, state_.epoch, data_.train->size());
  while (state_.epoch_step < steps_per_epoch_) {
    const auto begin = order.begin() + state_.epoch_step * options_.batch;
    const auto left = order.end() - begin;
    train_step({begin, begin + std::min<std::ptrdiff_t>(left, options_.batch)});
    report(Phase::training, state_.step, options_.epochs * steps_per_epoch_);
    if (stop()) return false;
  }
  return true;
}

void Trainer::train_step(const std::vector<std::int64_t>& rows) {
  std::vector<std::int64_t> labels;
  for (const std::int64_t row : rows) labels.push_back(data_.train->label(row));
  std::function<Geometry(std::int64_t)> geometry;
  if (options_.augment.any())
    geometry = [&](std::int64_t i) {
      Rng rng = random_stream(options_.seed, RandomPurpose::augment, static_cast<std::uint64_t>(state_.epoch),
                              static_cast<std::uint64_t>(rows[static_cast<std::size_t>(i)]));
      return draw_geometry(options_.augment, rng);
    };
  Tape tape;
  Rng rng = random_stream(options_.seed, RandomPurpose::model, static_cast<std::uint64_t>(state_.step));
  const Context ctx{&tape, true, &rng, nullptr};
  Tensor pictures;
  {
    const ProfileScope scope("batch");
    pictures = load_batch(*data_.train, rows, model_.form, geometry);
  }
  const auto diverged = [&](double loss) {
    fail("train",
         "the loss is {} in epoch {}, step {}; the last checkpoint is whole. Try a lower learning rate", loss,
         state_.epoch + 1, state_.epoch_step + 1);
  };
  Var logits;
  try {
    logits = model_.model->forward(ctx, Var(std::move(pictures)));
  } catch (const Error&) {  // of an encoding whose table the last step made infinite
    for (const Parameter& p : model_.model->parameters())
      for (const float x : p.value.value().values())
        if (!std::isfinite(x)) diverged(std::numeric_limits<double>::quiet_NaN());
    throw;
  }
  const Var loss = cross_entropy(ctx, logits, labels, static_cast<float>(options_.label_smoothing));
  const double loss_value = loss.value()[0];
  if (!std::isfinite(loss_value)) diverged(loss_value);
  const std::int64_t correct = count_correct(logits.value(), labels);
  tape.backward(loss);

  const ProfileScope scope("optimiser");
  const std::vector<Parameter>& parameters = model_.model->parameters();
  const double scale = options_.clip > 0.0 ? clip_factor(gradient_norm(parameters), options_.clip) : 1.0;
  lr_ = schedule_.at(state_.step);
  optimizer_->step(lr_, scale);
  for (const Parameter& p : parameters) Var(p.value).clear_grad();
  if (ema_) ema_->update();
  ++state_.step;
  ++state_.epoch_step;
  state_.epoch_meter.add(loss_value, correct, static_cast<std::int64_t>(rows.size()));
  state_.log_meter.add(loss_value, correct, static_cast<std::int64_t>(rows.size()));
  if (state_.step % options_.log_interval == 0) log_step(lr_);
}

double Trainer::accuracy_of(bool averaged, bool* complete) {
  if (averaged) ema_->swap();
  Evaluation evaluation;
  try {
    evaluation = evaluate(*model_.model, *data_.val, model_.form, std::max<std::int64_t>(options_.batch, 1),
                          [&](std::int64_t done) {
                            report(Phase::validating, done, data_.val->size());
                            return !stop();
                          });
  } catch (...) {
    if (averaged) ema_->swap();
    throw;
  }
  if (averaged) ema_->swap();
  *complete = evaluation.complete;
  return evaluation.accuracy;
}

bool Trainer::validate() {
  const std::int64_t epoch = state_.epoch + 1;
  if (!data_.val || (epoch % options_.val_interval != 0 && epoch != options_.epochs)) return true;
  bool complete = true;
  const double plain = accuracy_of(false, &complete);
  const double averaged = complete && ema_ ? accuracy_of(true, &complete) : -1.0;
  if (!complete) return false;
  state_.val_accuracy = plain;
  state_.ema_val_accuracy = averaged;
  return true;
}

void Trainer::log(const Json& line) {
  const std::string text = line.dump();
  if (callbacks_.log) callbacks_.log(text);
  std::FILE* file = std::fopen(log_path(options_.out).c_str(), "ab");
  require(file != nullptr, "train", "cannot write {}: {}", log_path(options_.out), std::strerror(errno));
  const bool written = std::fprintf(file, "%s\n", text.c_str()) > 0;
  require(std::fclose(file) == 0 && written, "train", "cannot write {}: {}", log_path(options_.out),
          std::strerror(errno));
  state_.log_bytes += static_cast<std::int64_t>(text.size()) + 1;
}

double rounded_seconds(double seconds) { return std::round(seconds * 1e3) / 1e3; }

void Trainer::log_step(double lr) {
  log({{"kind", "step"},
       {"epoch", state_.epoch + 1},
       {"step", state_.step},
       {"lr", lr},
       {"loss", state_.log_meter.mean_loss()},
       {"accuracy", state_.log_meter.accuracy()},
       {"seconds", rounded_seconds(seconds())}});
  state_.log_meter = {};
}

void Trainer::log_epoch() {
  Json line{{"kind", "epoch"},
            {"epoch", state_.epoch},
            {"step", state_.step},
            {"lr", schedule_.at(state_.step - 1)},
            {"loss", state_.epoch_meter.mean_loss()},
            {"accuracy", state_.epoch_meter.accuracy()}};
  if (data_.val && (state_.epoch % options_.val_interval == 0 || state_.epoch == options_.epochs)) {
    line["val_accuracy"] = state_.val_accuracy;
    if (ema_) line["ema_val_accuracy"] = state_.ema_val_accuracy;
  }
  line["seconds"] = rounded_seconds(seconds());
  log(line);
}

void Trainer::checkpoint() const {
  TrainState state = state_;
  state.seconds = seconds();
  NamedTensors tensors;
  for (const Parameter& p : model_.model->parameters()) tensors.emplace_back("w." + p.name, p.value.value());
  for (auto& moment : optimizer_->moments()) tensors.push_back(std::move(moment));
  if (ema_)
    for (auto& [name, average] : ema_->averages()) tensors.emplace_back("ema." + name, average);
  save_state(options_.out, state, tensors);
  if (state_.epoch_step == 0) write_model();  // an epoch under way is resumable, but no new model
}

void Trainer::write_model() const {
  SaveOptions save{model_.name,
                   model_.form,
                   data_.classes,
                   {{"epochs", std::to_string(state_.epoch)}, {"training", state_.options}}};
  NamedTensors weights;
  if (ema_)
    weights = ema_->averages();
  else
    for (const Parameter& p : model_.model->parameters()) weights.emplace_back(p.name, p.value.value());
  save_model(model_path(options_.out), *model_.model, weights, save);
}

void Trainer::report(Phase phase, std::int64_t done, std::int64_t total) {
  if (!callbacks_.progress) return;
  callbacks_.progress({phase, done, total, state_.epoch + 1, options_.epochs, lr_,
                       state_.epoch_meter.mean_loss(), state_.epoch_meter.accuracy()});
}

TrainResult Trainer::result(bool finished) const {
  return {finished, state_.epoch, state_.step, state_.val_accuracy, state_.ema_val_accuracy, seconds()};
}

}  // namespace

TrainResult train(const TrainOptions& options, const TrainCallbacks& callbacks) {
  return Trainer(options, callbacks).run();
}

}  // namespace locant
