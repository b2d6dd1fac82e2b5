#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/cli.h"

namespace locant::cli {

namespace {

constexpr double kBarInterval = 0.1;    // s
constexpr double kLineInterval = 10.0;  // s

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_error(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace

Progress::Progress(const GlobalOptions& globals, std::string label, std::int64_t total)
    : label_(std::move(label)),
      total_(std::max<std::int64_t>(total, 1)),
      quiet_(globals.quiet),
      terminal_(is_terminal(STDERR_FILENO)) {
  if (!terminal_) last_ = 0.0;  // what ends within ten seconds needs no plain line
}

Progress::~Progress() { finish(); }

void Progress::update(std::int64_t done, std::string_view note) {
  if (quiet_) return;
  const double now = watch_.seconds();
  if (now - last_ < (terminal_ ? kBarInterval : kLineInterval)) return;
  last_ = now;
  done = std::clamp<std::int64_t>(done, 0, total_);
  const double share = static_cast<double>(done) / static_cast<double>(total_);
  std::string left;
  if (done > 0 && done < total_) left = fmt::format(", {} left", human_seconds(now * (1.0 - share) / share));
  const std::string tail =
      fmt::format(" {}/{}{}{}{}", done, total_, left, note.empty() ? "" : ", ", printable(note));
  if (!terminal_) {
    write_error(label_ + tail + "\n");
    return;
  }
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(share * kWidth);
  std::string bar = fmt::format("{} [{}{}]{}", label_, std::string(static_cast<std::size_t>(filled), '#'),
                                std::string(static_cast<std::size_t>(kWidth - filled), '.'), tail);
  bar.resize(std::min(bar.size(), static_cast<std::size_t>(std::max(terminal_columns() - 1, 1))));
  write_error("\r\033[K" + bar);
  drawn_ = true;
}

void Progress::line(std::string_view text) {
  if (quiet_) return;
  clear();
  write_error(printable(text) + "\n");
}

void Progress::finish() { clear(); }

void Progress::clear() {
  if (drawn_) write_error("\r\033[K");
  drawn_ = false;
}

}  // namespace locant::cli
