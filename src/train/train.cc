// One run is one class, because all its parts read and write one state, which a checkpoint holds: that is why
// this file is long. What needs no state is beside it: run_folder, run_end, layers, batch, optimizer.
#include "train/train.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/finite.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "models/load.h"
#include "ops/loss.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/class_weights.h"
#include "train/ema.h"
#include "train/evaluate.h"
#include "train/layers.h"
#include "train/model_setup.h"
#include "train/probe.h"
#include "train/random_streams.h"
#include "train/run_end.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/schedule.h"
#include "train/sgd.h"
#include "train/state.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

using OrderedJson = nlohmann::ordered_json;
using Phase = TrainProgress::Phase;

/// One run, from opening the data to the last checkpoint.
class Trainer {
 public:
  Trainer(const TrainOptions& options, const TrainCallbacks& callbacks)
      : options_(options), callbacks_(callbacks) {}

  TrainResult run();

 private:
  bool open_data();
  void open_model();
  void make_optimizer();
  void log_skipped();
  void resume();
  void check_options(const TrainState& state);
  void plan_rate();
  TrainResult go_on();
  TrainResult finish();
  bool train_epoch();
  void train_step(const std::vector<std::int64_t>& rows);
  void add_gradients(const std::vector<std::int64_t>& rows, std::int64_t part, double share);
  bool waited_enough() const;
  [[noreturn]] void diverged(const std::string& what) const;
  bool weights_are_finite() const;
  bool validate();
  double accuracy_of(bool averaged, bool* complete);
  void checkpoint() const;
  void write_model(const std::string& path, std::int64_t epochs) const;
  void log(const OrderedJson& line);
  void log_step(double lr);
  void log_epoch();
  void report(Phase phase, std::int64_t done, std::int64_t total);
  double seconds() const { return state_.seconds + (clock_seconds() - started_); }
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
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Ema> ema_;
  TrainState state_;
  std::vector<float> class_weights_;
  std::int64_t steps_per_epoch_ = 0;
  double started_ = 0.0, lr_ = 0.0;
  bool made_folder_ = false;
};

TrainResult Trainer::run() {
  options_.check();
  if (options_.threads > 0) set_num_threads(options_.threads);
  options_.threads = num_threads();
  check_run_folder(options_);
  open_model();
  if (!open_data()) return {};
  started_ = clock_seconds();
  if (options_.resume)
    resume();
  else
    made_folder_ = clear_run_folder(options_.out);
  plan_rate();
  try {
    if (!options_.resume) log_skipped();
    return go_on();
  } catch (...) {
    if (!fs::exists(state_path(options_.out))) forget_run_folder(options_.out, made_folder_);
    throw;
  }
}

TrainResult Trainer::go_on() {
  while (state_.epoch < options_.epochs && !waited_enough()) {
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
  if (state_.epoch < options_.epochs)
    note(fmt::format("no better validation since epoch {}: ended after {} of {} epochs (--patience {})",
                     state_.best_epoch, state_.epoch, options_.epochs, options_.patience));
  return finish();
}

/// What model.safetensors holds answers once more, for the report.
TrainResult Trainer::finish() {
  TrainResult out = result(true);
  if (ema_) ema_->swap();
  std::vector<RunAnswers> answers;
  const auto ask = [&](const char* name, const std::shared_ptr<const Dataset>& data) {
    if (!data) return;
    answers.push_back({name, evaluate(*model_.model, *data, model_.form, options_.batch), data});
  };
  ask("val", data_.val);
  ask("test", data_.test);
  if (ema_) ema_->swap();
  if (data_.test) out.test_accuracy = answers.back().evaluation.accuracy;
  write_run_end(options_, model_, data_, std::move(answers), out);
  return out;
}

bool Trainer::waited_enough() const {
  return options_.patience > 0 && state_.best_epoch > 0 && state_.epoch % options_.val_interval == 0 &&
         state_.epoch - state_.best_epoch >= options_.patience;
}

void Trainer::log_skipped() {
  for (const SkippedPicture& picture : data_.skipped)
    log({{"kind", "skip"}, {"picture", picture.path}, {"reason", picture.reason}});
}

void Trainer::open_model() {
  const std::vector<std::string> classes = dataset_classes(options_.data);
  model_ = build_train_model(options_, static_cast<std::int64_t>(classes.size()));
  for (const std::string& line : model_.notes) note(line);
  make_optimizer();
  if (options_.ema > 0.0) ema_ = std::make_unique<Ema>(model_.model->parameters(), options_.ema);
}

void Trainer::make_optimizer() {
  const std::vector<Parameter>& parameters = model_.model->parameters();
  const std::vector<bool> frozen = frozen_parameters(parameters, options_.freeze, options_.freeze_names);
  std::int64_t still = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!frozen[i]) continue;
    Var(parameters[i].value).freeze();
    if (parameters[i].learned) still += parameters[i].shape.numel();
  }
  if (still > 0) note(fmt::format("{} of {} parameters stand still", still, model_.model->num_parameters()));
  const std::vector<double> rates = layers_of(parameters).rates(options_.layer_decay);
  if (options_.optimizer == "sgd")
    optimizer_ = std::make_unique<Sgd>(
        parameters, SgdOptions{.momentum = options_.momentum, .weight_decay = options_.weight_decay}, rates);
  else
    optimizer_ =
        std::make_unique<AdamW>(parameters, AdamWOptions{.weight_decay = options_.weight_decay}, rates);
}

bool Trainer::open_data() {
  try {
    data_ = open_datasets(options_.data, model_.form, [this](std::int64_t done, std::int64_t total) {
      report(Phase::loading, done, total);
      return !stop();
    });
  } catch (const Cancelled&) {
    return false;
  }
  for (const std::string& line : data_.notes) note(line);
  for (const SkippedPicture& picture : data_.skipped)
    if (callbacks_.skipped) callbacks_.skipped(picture);
  const std::int64_t size = data_.train->size();
  const std::int64_t step = options_.batch * options_.grad_accum;
  steps_per_epoch_ = (size + step - 1) / step;
  class_weights_ = class_weights(options_.class_weights, *data_.train, data_.classes, callbacks_.note);
  require(options_.patience == 0 || data_.val != nullptr, "train",
          "--patience {} needs pictures to validate on; give --val FOLDER or --val-split PART",
          options_.patience);
  state_.options = options_.to_json();
  state_.data = splitmix64(data_.train->fingerprint()) ^ (data_.val ? data_.val->fingerprint() : 0);
  note(fmt::format("{}: {} parameters, pictures {} x {} x {}; {} to train on, {} to validate on, {} classes",
                   model_.name, model_.model->num_parameters(), model_.form.channels, model_.form.rows,
                   model_.form.columns, size, data_.val ? data_.val->size() : 0, data_.classes.size()));
  return true;
}

double warmup_of(double warmup_epochs, std::int64_t epochs) {
  return warmup_epochs < 0.0 ? 0.05 * static_cast<double>(epochs) : warmup_epochs;
}

void Trainer::plan_rate() {
  const double warmup = warmup_of(options_.warmup_epochs, options_.epochs);
  schedule_ = {options_.lr, options_.min_lr, std::llround(warmup * static_cast<double>(steps_per_epoch_)),
               options_.epochs * steps_per_epoch_};
}

// What a resumed run must share with the options that it began with.
void Trainer::check_options(const TrainState& state) {
  const OrderedJson was = OrderedJson::parse(state.options, nullptr, false),
                    is = OrderedJson::parse(state_.options),
                    plain = OrderedJson::parse(TrainOptions{}.to_json());  // of a version that had fewer
  require(was.is_object(), "train", "{}: the options in it are broken", state_path(options_.out));
  for (const auto& [key, value] : is.items()) {
    const OrderedJson before = was.contains(key) ? was[key] : plain[key];
    if (before == value || key == "data" || key == "val")
      continue;  // data may have moved: its content is checked below
    if (key == "threads") {
      note(fmt::format("the run had {} threads, now {}: numbers will agree to rounding only", before.dump(),
                       value.dump()));
    } else if (key == "epochs" && before.is_number_integer()) {
      options_.warmup_epochs = warmup_of(options_.warmup_epochs, before.get<std::int64_t>());
      require(options_.warmup_epochs <= static_cast<double>(options_.epochs), "train",
              "{} epochs are fewer than the {} of warm-up that the run in {} began with", options_.epochs,
              options_.warmup_epochs, options_.out);
      note(fmt::format("{} epochs instead of {}: from here the rate follows the cosine of {} epochs",
                       options_.epochs, before.dump(), options_.epochs));
    } else {
      fail("train", "the run in {} has {} {}, not {}; start a new one with --init to change it", options_.out,
           key, before.dump(), value.dump());
    }
  }
  state_.options = options_.to_json();
  require(
      state.data == state_.data, "train",
      "{} is not the data that the run in {} was trained on: other pictures, or other ones that cannot be "
      "read",
      options_.data.path, options_.out);
}

void Trainer::resume() {
  std::map<std::string, Tensor> tensors;
  TrainState state =
      load_state(options_.out, [&](const std::string& name, const Tensor& t) { tensors[name] = t; });
  check_options(state);
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
  require(state_.epoch_step <= steps_per_epoch_, "train", "{}: epoch {} has no step {}",
          state_path(options_.out), state_.epoch + 1, state_.epoch_step);
  const std::int64_t begun = state_.epoch + (state_.epoch_step > 0 ? 1 : 0);
  require(begun <= options_.epochs, "train", "the run in {} has begun its epoch {}; --epochs {} is too few",
          options_.out, begun, options_.epochs);
  // Lines that a killed process wrote after its last state are written again.
  std::error_code error;
  const auto log_size = static_cast<std::int64_t>(fs::file_size(log_path(options_.out), error));
  if (!error && log_size > state_.log_bytes)
    fs::resize_file(log_path(options_.out), static_cast<std::uintmax_t>(state_.log_bytes), error);
  else
    state_.log_bytes = error ? 0 : log_size;
  // The process may have died between the last state and its model.
  if (state_.epoch > 0 && state_.epoch_step == 0) write_model(model_path(options_.out), state_.epoch);
  if (state_.epoch == options_.epochs)
    note(fmt::format("all {} epochs are done; --epochs with a larger number goes on", state_.epoch));
  else
    note(fmt::format("resumed after epoch {}, step {} of {} of the next", state_.epoch, state_.epoch_step,
                     steps_per_epoch_));
}

bool Trainer::train_epoch() {
  const std::vector<std::int64_t> order = shuffled_order(options_.seed, state_.epoch, data_.train->size());
  bool stopped = false;
  const std::int64_t step = options_.batch * options_.grad_accum;
  while (!stopped && state_.epoch_step < steps_per_epoch_) {
    const auto begin = order.begin() + state_.epoch_step * step;
    const auto left = order.end() - begin;
    train_step({begin, begin + std::min<std::ptrdiff_t>(left, step)});
    report(Phase::training, state_.step, options_.epochs * steps_per_epoch_);
    stopped = stop();
  }
  // The loss is of the weights before a step; what is saved is what the last step made of them.
  if (!weights_are_finite()) diverged(fmt::format("a weight is not finite after step {}", state_.epoch_step));
  return !stopped;
}

bool Trainer::weights_are_finite() const {
  const auto& all = model_.model->parameters();
  return std::all_of(all.begin(), all.end(),
                     [](const Parameter& p) { return first_not_finite(p.value.value().values()) < 0; });
}

void Trainer::diverged(const std::string& what) const {
  const std::string where = fmt::format("{}, in epoch {}", what, state_.epoch + 1);
  const std::string advice = fmt::format(
      "Try a lower --lr (it is {}), a longer --warmup-epochs ({}), a smaller --clip ({}), and look at the "
      "pictures and labels",
      options_.lr, warmup_of(options_.warmup_epochs, options_.epochs), options_.clip);
  const std::string& out = options_.out;
  if (!fs::exists(state_path(out))) fail("train", "{}. {}; nothing was saved", where, advice);
  const std::string with_model =
      fs::exists(model_path(out))
          ? fmt::format(", and --init {} --out ANOTHER starts a run with other options from its weights",
                        model_path(out))
          : "";
  fail("train",
       "{}. The last checkpoint is whole: --resume {} goes on from it, and meets the same again unless the "
       "number of --epochs or of --threads changes{}. {}",
       where, out, with_model, advice);
}

void Trainer::train_step(const std::vector<std::int64_t>& rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  for (std::int64_t begin = 0; begin < count; begin += options_.batch) {
    const std::int64_t part = std::min(options_.batch, count - begin);
    add_gradients({rows.begin() + begin, rows.begin() + begin + part}, begin / options_.batch,
                  static_cast<double>(part) / static_cast<double>(count));
  }
  const ProfileScope scope("optimiser");
  const std::vector<Parameter>& parameters = model_.model->parameters();
  const double scale = options_.clip > 0.0 ? clip_factor(gradient_norm(parameters), options_.clip) : 1.0;
  lr_ = schedule_.at(state_.step);
  optimizer_->step(lr_, scale);
  for (const Parameter& p : parameters) Var(p.value).clear_grad();
  if (ema_) ema_->update();
  ++state_.step;
  ++state_.epoch_step;
  if (state_.step % options_.log_interval == 0) log_step(lr_);
}

/// Of one of the batches of a step, which counts as `share` of it.
void Trainer::add_gradients(const std::vector<std::int64_t>& rows, std::int64_t part, double share) {
  std::vector<std::int64_t> labels;
  for (const std::int64_t row : rows) labels.push_back(data_.train->label(row));
  Tape tape;
  Rng rng = random_stream(options_.seed, RandomPurpose::model, static_cast<std::uint64_t>(state_.step),
                          static_cast<std::uint64_t>(part));
  const Context ctx{.tape = &tape, .train = true, .rng = &rng, .thrifty = options_.grad_checkpointing};
  Tensor pictures;
  ClassTargets targets;
  {
    const ProfileScope scope("batch");
    pictures =
        load_training_batch(*data_.train, rows, model_.form, options_.augment, options_.seed, state_.epoch);
    targets = mix_batch(pictures, labels, options_.augment, options_.seed,
                        state_.step * options_.grad_accum + part);
  }
  targets.smoothing = static_cast<float>(options_.label_smoothing);
  targets.class_weights = class_weights_;
  const Var logits = model_.model->forward(ctx, Var(std::move(pictures)));
  const Var loss = cross_entropy(ctx, logits, targets);
  const double loss_value = loss.value()[0];
  if (!std::isfinite(loss_value))
    diverged(fmt::format("the loss of step {} is {}", state_.epoch_step + 1,
                         std::isnan(loss_value) ? "not a number" : "infinite"));
  const std::int64_t correct = count_correct(logits.value(), labels);
  tape.backward({{loss, Tensor::full({1}, static_cast<float>(share))}});
  state_.epoch_meter.add(loss_value, correct, static_cast<std::int64_t>(rows.size()));
  state_.log_meter.add(loss_value, correct, static_cast<std::int64_t>(rows.size()));
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
  const double accuracy = ema_ ? averaged : plain;
  if (accuracy > state_.best_accuracy) {
    state_.best_accuracy = accuracy;
    state_.best_epoch = epoch;
    if (options_.patience > 0) write_model(best_path(options_.out), epoch);
  }
  return true;
}

void Trainer::log(const OrderedJson& line) {
  // File names need not be UTF-8.
  const std::string text = line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  if (callbacks_.log) callbacks_.log(text);
  append_log_line(log_path(options_.out), text);
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
  OrderedJson line{{"kind", "epoch"},
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
  if (state_.epoch_step == 0)
    write_model(model_path(options_.out), state_.epoch);  // an epoch under way is resumable, but no new model
}

void Trainer::write_model(const std::string& path, std::int64_t epochs) const {
  SaveOptions save{model_.name,
                   model_.form,
                   data_.classes,
                   {{"epochs", std::to_string(epochs)}, {"training", state_.options}}};
  NamedTensors weights;
  if (ema_)
    weights = ema_->averages();
  else
    for (const Parameter& p : model_.model->parameters()) weights.emplace_back(p.name, p.value.value());
  save_model(path, *model_.model, weights, save);
}

void Trainer::report(Phase phase, std::int64_t done, std::int64_t total) {
  if (!callbacks_.progress) return;
  callbacks_.progress({phase, done, total, state_.epoch + 1, options_.epochs, lr_,
                       state_.epoch_meter.mean_loss(), state_.epoch_meter.accuracy()});
}

TrainResult Trainer::result(bool finished) const {
  return {finished,
          state_.epoch,
          state_.step,
          state_.val_accuracy,
          state_.ema_val_accuracy,
          -1.0,
          state_.best_accuracy,
          state_.best_epoch,
          seconds(),
          static_cast<std::int64_t>(data_.skipped.size())};
}

}  // namespace

TrainResult train(const TrainOptions& options, const TrainCallbacks& callbacks) {
  return options.probe ? train_probe(options, callbacks) : Trainer(options, callbacks).run();
}

}  // namespace locant
