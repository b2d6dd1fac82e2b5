#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>

#include "cli/cli.h"
#include "train/train.h"

namespace locant::cli {

/// While it lives, Ctrl-C and SIGTERM ask for an orderly end; a second one ends the process at once.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  struct sigaction interrupt_ {
  }, terminate_{};
};
bool stop_requested();

/// Names the pictures that a run leaves out on stderr, quiet or not.
class SkippedReport {
 public:
  /// One line; after the tenth they are counted alone.
  void add(const SkippedPicture& picture);
  /// Says how many there were, and that `log` names them all. Returns the exit code of a run that did all
  /// else: kOk, or kCheckFailed when there were any.
  int finish(const std::string& log) const;

 private:
  std::int64_t count_ = 0;
};

/// Turns a run's callbacks into a bar and lines on stderr.
class TrainReporter {
 public:
  explicit TrainReporter(const GlobalOptions& globals) : globals_(globals) {}
  void progress(const TrainProgress& p);
  void line(const std::string& text);
  /// Removes the bar, before lines that do not go through it; the next step draws it again.
  void pause() { bar_.reset(); }
  /// A line of the log: those of epochs are shown.
  void log(const std::string& json);

 private:
  const GlobalOptions& globals_;
  std::optional<Progress> bar_;
  bool loading_ = false, seeing_ = false;
  std::int64_t first_ = 0;  ///< what was done when the bar began: a resumed run's time left counts from here
  std::int64_t done_ = 0;
};

}  // namespace locant::cli
