#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/config_json.h"
#include "train/state.h"
#include "train/train.h"

namespace locant {
namespace {

/// The fields of a run, once for reading and writing.
template <class Archive, class Options>
void fields(Archive& archive, Options& o) {
  archive.field("data", o.data.path);
  archive.field("val", o.data.val);
  archive.field("val_split", o.data.val_split);
  archive.field("model", o.model);
  archive.field("config", o.config);
  archive.field("init", o.init);
  archive.field("key", o.key);
  archive.field("ignore", o.ignore);
  archive.field("probe", o.probe);
  archive.field("probe_c", o.probe_c);
  archive.field("epochs", o.epochs);
  archive.field("batch", o.batch);
  archive.field("grad_accum_steps", o.grad_accum);
  archive.field("opt", o.optimizer);
  archive.field("momentum", o.momentum);
  archive.field("lr", o.lr);
  archive.field("layer_decay", o.layer_decay);
  archive.field("freeze", o.freeze);
  archive.field("freeze_names", o.freeze_names);
  archive.field("min_lr", o.min_lr);
  archive.field("warmup_epochs", o.warmup_epochs);
  archive.field("weight_decay", o.weight_decay);
  archive.field("clip", o.clip);
  archive.field("grad_checkpointing", o.grad_checkpointing);
  archive.field("label_smoothing", o.label_smoothing);
  archive.field("class_weights", o.class_weights);
  archive.field("drop_path", o.drop_path);
  archive.field("ema", o.ema);
  archive.field("shift", o.augment.shift);
  archive.field("rotate", o.augment.rotate);
  archive.field("zoom", o.augment.zoom);
  archive.field("scale", o.augment.scale);
  archive.field("ratio", o.augment.ratio);
  archive.field("train_interpolation", o.augment.train_interpolation);
  archive.field("hflip", o.augment.hflip);
  archive.field("vflip", o.augment.vflip);
  archive.field("color_jitter", o.augment.color_jitter);
  archive.field("aa", o.augment.aa);
  archive.field("reprob", o.augment.reprob);
  archive.field("remode", o.augment.remode);
  archive.field("recount", o.augment.recount);
  archive.field("mixup", o.augment.mixup);
  archive.field("cutmix", o.augment.cutmix);
  archive.field("cutmix_minmax", o.augment.cutmix_minmax);
  archive.field("mixup_prob", o.augment.mixup_prob);
  archive.field("mixup_switch_prob", o.augment.mixup_switch_prob);
  archive.field("mixup_mode", o.augment.mixup_mode);
  archive.field("val_interval", o.val_interval);
  archive.field("log_interval", o.log_interval);
  archive.field("patience", o.patience);
}

void check_range(const char* name, double value, double low, double high) {
  require(value >= low && value <= high, "train", "{} {} is not in [{}, {}]", name, value, low, high);
}

void check_word(const char* name, const std::string& value, std::initializer_list<const char*> words) {
  const bool known = std::any_of(words.begin(), words.end(), [&](const char* word) { return value == word; });
  require(known, "train", "{} \"{}\" is none of {}", name, value, fmt::join(words, ", "));
}

}  // namespace

void TrainOptions::check() const {
  require(!out.empty(), "train", "no output folder given; --out FOLDER");
  require(!model.empty() || !config.empty() || !init.empty(), "train",
          "no model given; --model NAME (see `locant list`)");
  check_range("C of the probe", probe_c, 1e-12, 1e12);
  check_range("epochs", static_cast<double>(epochs), 1, 1e6);
  check_range("batch", static_cast<double>(batch), 1, 65536);
  check_range("batches a step", static_cast<double>(grad_accum), 1, 65536);
  check_range("learning rate", lr, 0, 1e3);
  check_range("lowest learning rate", min_lr, 0, lr);
  check_range("warm-up epochs", warmup_epochs, -1, static_cast<double>(epochs));
  check_range("weight decay", weight_decay, 0, 1e3);
  check_range("momentum", momentum, 0, 0.999999);
  check_range("layer decay", layer_decay, 1e-3, 1);
  check_range("patience", static_cast<double>(patience), 0, 1e6);
  check_range("gradient norm", clip, 0, 1e30);
  check_range("label smoothing", label_smoothing, 0, 0.999);
  check_range("drop path", drop_path, -1, 0.999);
  check_range("EMA decay", ema, 0, 0.999999999);
  check_range("validation interval", static_cast<double>(val_interval), 1, 1e6);
  check_range("log interval", static_cast<double>(log_interval), 1, 1e9);
  require(patience == 0 || patience >= val_interval, "train",
          "a patience of {} epochs ends before the next validation; there is one every {} epochs", patience,
          val_interval);
  check_word("optimizer", optimizer, {"adamw", "sgd"});
  check_word("class weights", class_weights, {"none", "balanced"});
  augment.check();
}

std::string TrainOptions::to_json() const {
  ConfigWriter writer;
  fields(writer, *this);
  writer.field("seed", std::to_string(seed));  // 64 bits do not fit a JSON number everywhere
  writer.field("threads", static_cast<std::int64_t>(threads));
  return writer.str();
}

TrainOptions TrainOptions::from_json(const std::string& text) {
  TrainOptions options;
  ConfigReader reader("train", text);
  fields(reader, options);
  std::string seed = "0";
  std::int64_t threads = 0;
  reader.field("seed", seed);
  reader.field("threads", threads);
  reader.finish();
  require(!seed.empty() && seed.size() <= 20 && seed.find_first_not_of("0123456789") == std::string::npos,
          "train", "seed \"{}\" is not a number", seed);
  options.seed = std::stoull(seed);
  options.threads = static_cast<int>(threads);
  return options;
}

TrainOptions resume_options(const std::string& folder) {
  TrainOptions options = TrainOptions::from_json(read_state_options(folder));
  options.out = folder;
  options.resume = true;
  return options;
}

}  // namespace locant
