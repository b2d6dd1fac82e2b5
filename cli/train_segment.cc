// locant train --task segment: fine-tunes Segment Anything's mask decoder.
#include "cli/train_segment.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>

#include "cli/train_report.h"
#include "cli/weights_options.h"
#include "core/error.h"

namespace locant::cli {

FineTuneOptions fine_tune_options(FineTuneOptions own, const TrainOptions& train, const CLI::App& sub) {
  static const std::vector<std::string> kKnown = {
      "--task",   "--data",       "--init",         "--key",           "--ignore",    "--out",
      "--model",  "--embeddings", "--image-size",   "--epochs",        "--batch",     "--lr",
      "--min-lr", "--clip",       "--weight-decay", "--warmup-epochs", "--val-split", "--seed",
      "--force",  "--strict",     "--help",         "--quiet",         "--threads"};
  for (const CLI::Option* option : sub.get_options())
    require(
        option->count() == 0 || std::find(kKnown.begin(), kKnown.end(), option->get_name()) != kKnown.end(),
        "train", "{} does not go with --task segment", option->get_name());
  const auto take = [&](const char* flag, auto& to, const auto& from) {
    if (sub.get_option(flag)->count() > 0) to = from;
  };
  own.data = train.data.path;
  own.init = train.init;
  if (!own.init.empty()) require_weights(own.init);
  own.key = train.key;
  own.ignore = train.ignore;
  own.out = train.out;
  own.model = sub.get_option("--model")->count() > 0 ? train.model : "";
  take("--epochs", own.epochs, train.epochs);
  take("--batch", own.batch, train.batch);
  take("--lr", own.lr, train.lr);
  take("--min-lr", own.min_lr, train.min_lr);
  take("--clip", own.clip, train.clip);
  take("--weight-decay", own.weight_decay, train.weight_decay);
  take("--warmup-epochs", own.warmup_epochs, train.warmup_epochs);
  take("--val-split", own.val_split, train.data.val_split);
  take("--seed", own.seed, train.seed);
  own.force = train.force;
  own.strict = train.data.strict;
  return own;
}

int run_fine_tune(const FineTuneOptions& options, const GlobalOptions& globals) {
  banner(globals);
  const StopSignals signals;
  const Stopwatch watch;
  std::optional<Progress> bar;
  FineTuneProgress::Phase phase = FineTuneProgress::Phase::train;
  FineTuneCallbacks callbacks;
  callbacks.progress = [&](const FineTuneProgress& p) {
    const bool encodes = p.phase == FineTuneProgress::Phase::encode;
    if (!bar || p.phase != phase) bar.emplace(globals, encodes ? "encode" : "train", p.total);
    phase = p.phase;
    bar->update(p.done, encodes ? "" : fmt::format("loss {:.4f}", p.loss));
  };
  callbacks.line = [&](const std::string& text) {
    if (bar)
      bar->line(text);
    else
      write_note(globals, text);
  };
  callbacks.stop = stop_requested;
  SkippedReport skipped;
  callbacks.skipped = [&](const SkippedPicture& picture) { skipped.add(picture); };
  const FineTuneResult result = fine_tune(options, callbacks);
  if (bar) bar->finish();
  if (!result.finished) {
    warn(result.steps == 0
             ? std::string("interrupted before the first step; embeddings made so far are kept")
             : fmt::format("interrupted after {} steps; {}/sam.safetensors holds the best epoch",
                           result.steps, options.out));
    return kInterrupted;
  }
  out("{}/sam.safetensors: {} steps, {}", printable(options.out), result.steps,
      human_seconds(watch.seconds()));
  if (result.point_iou >= 0.0)
    out(", held-out IoU from a point {:.4f} (before {:.4f}), from the box {:.4f} (before {:.4f})",
        result.point_iou, result.point_iou_before, result.box_iou, result.box_iou_before);
  out("\n");
  return skipped.finish(options.out + "/train.log.jsonl");
}

}  // namespace locant::cli
