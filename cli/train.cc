// locant train: trains a classifier on class folders or MNIST's IDX files.
#include "train/train.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/cli.h"
#include "cli/train_report.h"
#include "cli/train_segment.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "train/state.h"

namespace locant::cli {
namespace train_command {
namespace {

struct Options {
  TrainOptions train;
  std::string task = "classify", resume, config;
  FineTuneOptions segment;
  double cache_gb = 2.0;
};

TrainOptions chosen(const Options& options, const CLI::App& sub, const GlobalOptions& globals) {
  TrainOptions train = options.train;
  train.data.cache_bytes = static_cast<std::int64_t>(options.cache_gb * 1e9);
  train.config = json_of_option("--config", options.config);
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
    if (result.step == 0)
      warn("interrupted while the pictures were loading; nothing was changed");
    else
      warn(
          fmt::format("interrupted after {} epochs, {} steps; saved. Continue with: locant train --resume {}",
                      result.epoch, result.step, train_options.out));
    return kInterrupted;
  }
  out("{}: {} epochs, {} steps, {}", printable(model_path(train_options.out)), result.epoch, result.step,
      human_seconds(result.seconds));
  if (result.val_accuracy >= 0.0) out(", val_accuracy {:.4f}", result.val_accuracy);
  if (result.ema_val_accuracy >= 0.0) out(", ema_val_accuracy {:.4f}", result.ema_val_accuracy);
  out("\n");
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
  number("--epochs", t.epochs, "Passes over the training pictures; with --resume a new number of them");
  number("--batch", t.batch, "Pictures a step");
  number("--lr", t.lr, "Highest learning rate (AdamW)");
  number("--min-lr", t.min_lr, "Learning rate at the end of the cosine");
  number("--warmup-epochs", t.warmup_epochs, "Epochs of linear warm-up; below 0: a twentieth of all");
  number("--weight-decay", t.weight_decay, "Decoupled; not on biases, norms, position tables and tokens");
  number("--clip", t.clip, "Largest gradient norm; 0: none");
  number("--label-smoothing", t.label_smoothing, "Part of the target spread over all classes");
  number("--drop-path", t.drop_path, "Of the last block; below 0: as the model's configuration says");
  number("--ema", t.ema, "Decay of the averaged weights; 0: none");
  number("--shift", t.augment.shift, "Random shift, pixels");
  number("--rotate", t.augment.rotate, "Random rotation, degrees");
  number("--scale", t.augment.zoom, "Random scale, part");
  number("--seed", t.seed, "Of weights, order, augmentation and drop path");
  number("--log-every", t.log_interval, "Steps between lines of the log");
}

}  // namespace locant::cli
