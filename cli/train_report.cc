#include "cli/train_report.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>

namespace locant::cli {
namespace train_report_command {
namespace {

std::atomic<bool> g_stop{false};

void on_signal(int) { g_stop.store(true); }

}  // namespace
}  // namespace train_report_command

StopSignals::StopSignals() {
  struct sigaction action {};
  action.sa_handler = train_report_command::on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, &interrupt_);
  sigaction(SIGTERM, &action, &terminate_);
}

StopSignals::~StopSignals() {
  sigaction(SIGINT, &interrupt_, nullptr);
  sigaction(SIGTERM, &terminate_, nullptr);
}

bool stop_requested() { return train_report_command::g_stop.load(); }

void SkippedReport::add(const SkippedPicture& picture) {
  constexpr std::int64_t kNamed = 10;
  if (++count_ <= kNamed) warn(fmt::format("left out: {}: {}", picture.path, picture.reason));
  if (count_ == kNamed + 1) warn("more pictures are left out; they are counted at the end");
}

int SkippedReport::finish(const std::string& log) const {
  if (count_ == 0) return kOk;
  warn(fmt::format("{} picture{} left out; {} names {}", count_, count_ == 1 ? " was" : "s were", log,
                   count_ == 1 ? "it" : "them all"));
  return kCheckFailed;
}

void TrainReporter::progress(const TrainProgress& p) {
  using Phase = TrainProgress::Phase;
  if (p.phase == Phase::validating && !bar_) return;  // resumed at the very end of an epoch: steps follow
  if (p.phase == Phase::seeing) {
    if (!bar_ || !seeing_) bar_.emplace(globals_, "pictures", p.total);
    seeing_ = true;
    return bar_->update(p.done, "features");
  }
  if (std::exchange(seeing_, false)) bar_.reset();
  const bool loading = p.phase == Phase::loading;
  if (!bar_ || (loading_ != loading && p.phase != Phase::validating)) {
    loading_ = loading;
    first_ = p.phase == Phase::training ? std::max<std::int64_t>(p.done - 1, 0) : 0;
    bar_.emplace(globals_, loading ? "pictures" : "steps", p.total - first_);
  }
  if (p.phase != Phase::validating) done_ = p.done - first_;
  std::string tail;
  if (p.phase == Phase::validating)
    tail = fmt::format("epoch {}/{}, validating {}/{}", p.epoch, p.epochs, p.done, p.total);
  else if (!loading)
    tail = fmt::format("epoch {}/{}, loss {:.3f}, accuracy {:.1f} %", p.epoch, p.epochs, p.loss,
                       p.accuracy * 100.0);
  bar_->update(done_, tail);
}

void TrainReporter::line(const std::string& text) {
  if (bar_)
    bar_->line(text);
  else
    write_note(globals_, text);
}

void TrainReporter::log(const std::string& json) {
  const auto entry = nlohmann::json::parse(json);
  const auto value = [&entry](const char* key) { return entry[key].get<double>(); };
  if (entry["kind"] == "probe") {
    std::string text =
        fmt::format("head  loss {:.4f}  accuracy {:.2f} %", value("loss"), value("accuracy") * 100.0);
    if (entry.contains("val_accuracy"))
      text += fmt::format("  val_accuracy {:.2f} %", value("val_accuracy") * 100.0);
    return line(text);
  }
  if (entry["kind"] != "epoch") return;
  std::string text = fmt::format("epoch {:3.0f}  lr {:.2e}  loss {:.4f}  accuracy {:.2f} %", value("epoch"),
                                 value("lr"), value("loss"), value("accuracy") * 100.0);
  for (const char* key : {"val_accuracy", "ema_val_accuracy"})
    if (entry.contains(key)) text += fmt::format("  {} {:.2f} %", key, value(key) * 100.0);
  line(text + "  " + human_seconds(value("seconds")));
}

}  // namespace locant::cli
