// locant train: trains a classifier on class folders or MNIST's IDX files.
#include "train/train.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/cli.h"
#include "cli/train_report.h"
#include "cli/train_segment.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "train/recipe.h"
#include "train/state.h"

namespace locant::cli {
namespace train_command {
namespace {

struct Options {
  TrainOptions train;
  std::string task = "classify", resume, config, recipe;
  std::vector<std::string> freeze;
  FineTuneOptions segment;
  double cache_gb = 2.0;
};

/// "4": so many layers; else a pattern of names.
void take_freeze(const std::vector<std::string>& words, TrainOptions& train) {
  for (const std::string& word : words) {
    const bool number =
        !word.empty() && word.size() < 10 && word.find_first_not_of("0123456789") == std::string::npos;
    if (number)
      train.freeze = std::stoll(word);
    else
      train.freeze_names.push_back(word);
  }
}

/// The option of a field of TrainOptions: "--min-lr" of "min_lr"; nullptr where there is none.
const CLI::Option* option_of(const CLI::App& sub, std::string field) {
  std::replace(field.begin(), field.end(), '_', '-');
  return sub.get_option_no_throw("--" + field);
}

void follow_recipe(const std::string& recipe, const CLI::App& sub, const GlobalOptions& globals,
                   TrainOptions& train) {
  const std::vector<std::string> lines = apply_recipe(recipe, train, [&](const std::string& field) {
    const CLI::Option* option = option_of(sub, field);
    return option != nullptr && option->count() > 0;
  });
  write_note(globals, fmt::format("recipe {}: {}", recipe, fmt::join(lines, ", ")));
}

TrainOptions chosen(const Options& options, const CLI::App& sub, const GlobalOptions& globals) {
  TrainOptions train = options.train;
  train.data.cache_bytes = static_cast<std::int64_t>(options.cache_gb * 1e9);
  train.config = json_of_option("--config", options.config);
  take_freeze(options.freeze, train);
  if (!options.recipe.empty()) follow_recipe(options.recipe, sub, globals, train);
  if (!train.init.empty()) require_weights(train.init);
  if (!options.resume.empty()) {
    for (const CLI::Option* option : sub.get_options()) {
      const std::string name = option->get_name();
      const bool allowed = name == "--resume" || name == "--data" || name == "--val" || name == "--cache" ||
                           name == "--epochs" || name == "--strict" || name == "--help";
      require(option->count() == 0 || allowed, "train",
              "a resumed run keeps its {}; leave that out, or start a new run", name);
    }
    train = resume_options(options.resume);
    train.data.cache_bytes = static_cast<std::int64_t>(options.cache_gb * 1e9);
    train.data.strict = options.train.data.strict;
    if (sub.get_option("--epochs")->count() > 0) train.epochs = options.train.epochs;
    if (!options.train.data.path.empty()) train.data.path = options.train.data.path;
    if (!options.train.data.val.empty()) train.data.val = options.train.data.val;
  }
  if (globals.threads > 0) train.threads = globals.threads;
  train.command = globals.arguments;
  return train;
}

int run(const Options& options, const CLI::App& sub, const GlobalOptions& globals) {
  if (options.task == "segment")
    return run_fine_tune(fine_tune_options(options.segment, options.train, sub), globals);
  for (const char* flag : {"--embeddings", "--image-size"})
    require(sub.get_option(flag)->count() == 0, "train", "{} goes with --task segment", flag);
  const TrainOptions train_options = chosen(options, sub, globals);
  banner(globals);
  const StopSignals signals;
  SkippedReport skipped;
  TrainResult result;
  {
    TrainReporter reporter(globals);
    result = train(train_options, {[&](const TrainProgress& p) { reporter.progress(p); },
                                   [&](const std::string& text) { reporter.line(text); },
                                   [&](const std::string& text) { reporter.log(text); }, stop_requested,
                                   [&](const SkippedPicture& picture) {
                                     reporter.pause();
                                     skipped.add(picture);
                                   }});
  }
  if (!result.finished) {
    if (train_options.probe)
      warn("interrupted; the same command goes on from the features that are there");
    else if (result.step == 0)
      warn("interrupted while the pictures were loading; nothing was changed");
    else
      warn(
          fmt::format("interrupted after {} epochs, {} steps; saved. Continue with: locant train --resume {}",
                      result.epoch, result.step, train_options.out));
    return kInterrupted;
  }
  if (train_options.probe)
    out("{}: {} steps of the head, {}", printable(model_path(train_options.out)), result.step,
        human_seconds(result.seconds));
  else
    out("{}: {} epochs, {} steps, {}", printable(model_path(train_options.out)), result.epoch, result.step,
        human_seconds(result.seconds));
  if (result.val_accuracy >= 0.0) out(", val_accuracy {:.4f}", result.val_accuracy);
  if (result.ema_val_accuracy >= 0.0) out(", ema_val_accuracy {:.4f}", result.ema_val_accuracy);
  if (result.test_accuracy >= 0.0) out(", test_accuracy {:.4f}", result.test_accuracy);
  out("\n");
  if (train_options.patience > 0 && !train_options.probe)
    out("{}: epoch {}, {:.4f}\n", printable(best_path(train_options.out)), result.best_epoch,
        result.best_accuracy);
  return skipped.finish(log_path(train_options.out));
}

void add_data_options(CLI::App* sub, const std::shared_ptr<Options>& o) {
  TrainOptions& t = o->train;
  sub->add_option(
         "--task", o->task,
         "classify; or segment: Segment Anything's mask decoder, the encoder frozen and its embeddings "
         "kept")
      ->type_name("TASK")
      ->check(CLI::IsMember({"classify", "segment"}));
  sub->add_option("--embeddings", o->segment.embeddings,
                  "Folder for embeddings (segment); without it OUT/embeddings")
      ->type_name("DIR");
  sub->add_option("--image-size", o->segment.image_size,
                  "Side of the encoder's square (segment), a multiple of 16; without it the checkpoint's")
      ->type_name("N")
      ->check(CLI::Range(16, 4096));
  sub->add_option("--data", t.data.path,
                  "Folder: train/CLASS/.. and val/CLASS/.., CLASS/.., or MNIST's IDX files; for segment "
                  "images/NAME.jpg and masks/NAME.png, a colour an object")
      ->type_name("DIR");
  sub->add_option("--val", t.data.val, "Validate on this folder instead")->type_name("DIR");
  sub->add_option("--val-split", t.data.val_split, "Validate on this part of the training pictures instead")
      ->type_name("PART");
  sub->add_option("--val-every", t.val_interval, "Epochs between validations")->type_name("N");
  sub->add_option("--cache", o->cache_gb, "Most memory for decoded pictures, in GB")
      ->type_name("GB")
      ->check(CLI::Range(0.0, 1e6));
  sub->add_option("--model", t.model, "Model name (locant list)")->type_name("NAME");
  sub->add_option("--config", o->config, "JSON (text or file) that overrides the model's configuration")
      ->type_name("JSON");
  sub->add_option("--init", t.init, "Checkpoint to start from; another number of classes gets a new head")
      ->type_name("FILE");
  add_key_options(sub, t.key, t.ignore);
  sub->add_option("--out", t.out, "Folder for model.safetensors, state.safetensors, train.log.jsonl")
      ->type_name("DIR");
  sub->add_option("--resume", o->resume,
                  "Continue the run in this folder, with its options; --epochs may be another number")
      ->type_name("DIR");
  sub->add_flag("--force", t.force, "Replace a run in --out");
  sub->add_flag("--strict", t.data.strict,
                "Stop at the first picture that cannot be used; without it such pictures are left out and "
                "counted, and the exit code is 1");
}

/// timm's names.
void add_augment_options(CLI::App* sub, AugmentOptions& a) {
  const auto number = [sub](const char* flag, auto& value, const char* description) {
    sub->add_option(flag, value, description)->type_name("X");
  };
  sub->add_option("--scale", a.scale, "Random resized crop: lowest and highest part of the picture's area")
      ->type_name("LOW HIGH")
      ->expected(2);
  sub->add_option("--ratio", a.ratio, "Of that crop: lowest and highest width over height")
      ->type_name("LOW HIGH")
      ->expected(2);
  sub->add_option("--train-interpolation", a.train_interpolation,
                  "Of that crop and of --aa: bilinear, bicubic or random; without it the model's")
      ->type_name("NAME")
      ->check(CLI::IsMember({"bilinear", "bicubic", "random"}));
  number("--hflip", a.hflip, "Probability that a picture is mirrored");
  number("--vflip", a.vflip, "Probability that a picture is turned upside down");
  number("--color-jitter", a.color_jitter, "Brightness, contrast and saturation; not with --aa");
  sub->add_option("--aa", a.aa, "RandAugment, as timm writes it: rand-m9-mstd0.5-inc1")->type_name("POLICY");
  number("--reprob", a.reprob, "Probability of random erasing");
  sub->add_option("--remode", a.remode, "What is put there: const (0), rand (a colour), pixel (noise)")
      ->type_name("MODE")
      ->check(CLI::IsMember({"const", "rand", "pixel"}));
  number("--recount", a.recount, "Most boxes that are erased");
  number("--mixup", a.mixup, "Alpha of mixup; 0: none");
  number("--cutmix", a.cutmix, "Alpha of cutmix; 0: none");
  sub->add_option("--cutmix-minmax", a.cutmix_minmax, "Cutmix by a box of these parts of a side instead")
      ->type_name("LOW HIGH")
      ->expected(2);
  number("--mixup-prob", a.mixup_prob, "Probability that a batch is mixed");
  number("--mixup-switch-prob", a.mixup_switch_prob, "Probability of cutmix where both are on");
  sub->add_option("--mixup-mode", a.mixup_mode, "Mixed alike: batch, pair or elem")
      ->type_name("MODE")
      ->check(CLI::IsMember({"batch", "pair", "elem"}));
}

}  // namespace
}  // namespace train_command

void add_train(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<train_command::Options>();
  auto self = std::make_shared<CLI::App*>(nullptr);
  CLI::App* sub =
      add_command(app, globals, "train", "Trains a model on labelled pictures",
                  "locant train --data data/digits --model swin_digits --out runs/digits --epochs 40\n"
                  "locant train --data photos --init swin_tiny.pth --epochs 20 --lr 1e-4 --out runs/photos\n"
                  "locant train --task segment --data cells --init sam_vit_b_01ec64.pth --out runs/cells\n"
                  "locant train --resume runs/digits\n"
                  "locant train --resume runs/digits --epochs 80\n",
                  [options, self, &globals] { return run(*options, **self, globals); });
  *self = sub;
  add_data_options(sub, options);
  TrainOptions& t = options->train;
  const auto number = [sub](const char* flag, auto& value, const char* description) {
    sub->add_option(flag, value, description)->type_name("X");
  };
  sub->add_option(
         "--recipe", options->recipe,
         "A preset, which the options beside it overrule: probe (the head alone, on features that are "
         "computed once), finetune, scratch; what it sets is printed")
      ->type_name("NAME");
  number("--probe-c", t.probe_c, "Inverse strength of the probe's penalty, scikit-learn's C");
  number("--epochs", t.epochs, "Passes over the training pictures; with --resume a new number of them");
  number("--batch", t.batch, "Pictures at once");
  number("--grad-accum-steps", t.grad_accum, "Batches a step, whose gradients are averaged");
  sub->add_option("--opt", t.optimizer, "Optimiser: adamw, or sgd with Nesterov's momentum")
      ->type_name("NAME")
      ->check(CLI::IsMember({"adamw", "sgd"}));
  number("--momentum", t.momentum, "Of sgd");
  number("--lr", t.lr, "Highest learning rate");
  number("--layer-decay", t.layer_decay,
         "Rates fall by this from layer to layer towards the input; 1: one rate");
  sub->add_option(
         "--freeze", options->freeze,
         "What stands still: a number of layers from the input on (1: up to the first block), or names of "
         "parameters (* for any characters)")
      ->type_name("N|NAME");
  number("--min-lr", t.min_lr, "Learning rate at the end of the cosine");
  number("--warmup-epochs", t.warmup_epochs, "Epochs of linear warm-up; below 0: a twentieth of all");
  number("--weight-decay", t.weight_decay, "Decoupled; not on biases, norms, position tables and tokens");
  number("--clip", t.clip, "Largest gradient norm; 0: none");
  sub->add_flag(
      "--grad-checkpointing", t.grad_checkpointing,
      "Keep nothing between a block's forward and backward (ViT, DeiT, DINOv2, SimpleViT, Swin, Swin V2): "
      "less memory, a third more work, the same numbers");
  number("--label-smoothing", t.label_smoothing, "Part of the target spread over all classes");
  sub->add_option("--class-weights", t.class_weights,
                  "none; or balanced: the fewer pictures of a class, the more each counts")
      ->type_name("RULE")
      ->check(CLI::IsMember({"none", "balanced"}));
  number("--patience", t.patience,
         "Epochs without a better validation after which the run ends; 0: never. OUT/best.safetensors is the "
         "best epoch's model");
  number("--drop-path", t.drop_path, "Of the last block; below 0: as the model's configuration says");
  number("--ema", t.ema, "Decay of the averaged weights; 0: none");
  number("--shift", t.augment.shift, "Random shift, pixels");
  number("--rotate", t.augment.rotate, "Random rotation, degrees");
  number("--zoom", t.augment.zoom, "Random scale, part");
  train_command::add_augment_options(sub, t.augment);
  number("--seed", t.seed, "Of weights, order, augmentation and drop path");
  number("--log-every", t.log_interval, "Steps between lines of the log");
}

}  // namespace locant::cli
