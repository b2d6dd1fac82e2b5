#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/csv_text.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// What the process returns.
constexpr int kOk = 0;
constexpr int kCheckFailed = 1;    ///< a comparison came out wrong (verify), or some pictures were left out
constexpr int kUserError = 2;      ///< a bad option, file or name: one line on stderr says which
constexpr int kInterrupted = 130;  ///< Ctrl-C, after saving what there was to save

/// Options that every subcommand takes, and the command that was chosen.
struct GlobalOptions {
  int threads = 0;  ///< 0: core/parallel.h decides
  bool quiet = false;
  std::vector<std::string> arguments;  ///< the command line's words, the program's name first
  std::function<int()> command;        ///< set by the chosen subcommand; returns an exit code
};

// One subcommand a file: each adds itself to the application.
void add_demo(CLI::App& app, GlobalOptions& globals);
void add_classify(CLI::App& app, GlobalOptions& globals);
void add_evaluate(CLI::App& app, GlobalOptions& globals);
void add_features(CLI::App& app, GlobalOptions& globals);
void add_segment(CLI::App& app, GlobalOptions& globals);
void add_embed(CLI::App& app, GlobalOptions& globals);
void add_train(CLI::App& app, GlobalOptions& globals);
void add_verify(CLI::App& app, GlobalOptions& globals);
void add_inspect(CLI::App& app, GlobalOptions& globals);
void add_list(CLI::App& app, GlobalOptions& globals);
void add_draw(CLI::App& app, GlobalOptions& globals);
void add_bench(CLI::App& app, GlobalOptions& globals);

/// A subcommand with defaults in its help, global options allowed after it, and `examples` (whole command
/// lines, one a line) at the end of --help. `body` runs after parsing, with threads set; it returns an exit
/// code, and may throw locant::Error, which becomes one line on stderr and exit code 2. `app` may be a
/// command that has subcommands itself, and then no body.
///
///   void add_x(CLI::App& app, GlobalOptions& globals) {
///     auto options = std::make_shared<Options>();
///     CLI::App* sub = add_command(app, globals, "x", "Does x", "locant x photo.jpg\n",
///                                 [options, &globals] { return run(*options, globals); });
///     sub->add_option("--top", options->top, "Answers a picture")->check(CLI::Range(1, 1000));
///   }
CLI::App* add_command(CLI::App& app, GlobalOptions& globals, const std::string& name,
                      const std::string& description, const std::string& examples, std::function<int()> body);

/// "locant 0.1.0, avx512 (best of this machine), 2 threads" on stderr unless quiet. Commands that compute
/// call it first; throws Error when LOCANT_ISA is wrong.
void banner(const GlobalOptions& globals);

/// Results: to stdout. Ends the program quietly when the reader has gone (`| head`); throws Error when stdout
/// cannot be written for another reason.
void write_out(std::string_view text);
template <class... Args>
void out(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}
void flush_out();

/// For people: one line on stderr unless quiet. The newline is added.
void write_note(const GlobalOptions& globals, std::string_view text);
template <class... Args>
void note(const GlobalOptions& globals, fmt::format_string<Args...> format, Args&&... args) {
  write_note(globals, fmt::format(format, std::forward<Args>(args)...));
}
/// "locant: warning: ..." on stderr, quiet or not.
void warn(std::string_view text);

/// Is this file descriptor (1 stdout, 2 stderr) a terminal?
bool is_terminal(int descriptor);

/// Steady clock.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  double ms() const { return seconds() * 1e3; }
  void restart() { start_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

/// Progress on stderr: a bar with the time left on a terminal; elsewhere a plain line every ten seconds.
/// Nothing when quiet.
class Progress {
 public:
  Progress(const GlobalOptions& globals, std::string label, std::int64_t total);
  ~Progress();
  /// `note` stands at the end of the bar ("loss 0.412"). Cheap: draws at most ten times a second.
  void update(std::int64_t done, std::string_view note = {});
  /// A full line, above the bar.
  void line(std::string_view text);
  /// Removes the bar; the destructor does it too.
  void finish();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void clear();
  std::string label_;
  std::int64_t total_;
  bool quiet_, terminal_;
  bool drawn_ = false;
  double last_ = -1e9;
  Stopwatch watch_;
};

/// Numbers for people: "1,234,567"; "3.4 MB" (powers of 1000); "12.3 ms", "4.56 s", "3 min 20 s".
std::string with_commas(std::int64_t value);
std::string human_bytes(double bytes);
std::string human_seconds(double seconds);
/// "Text" with quotes and escapes, as JSON wants it; invalid UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);
/// Control characters (C0, DEL, C1) and bytes that are no UTF-8 as escapes, "\x1b" and "\u009b": names out of
/// a file, and of files, must not steer a terminal. For text of several lines newlines stay.
std::string printable(std::string_view text, bool keep_newlines = false);
/// JSON as it is, but for control characters that a JSON library leaves in strings: "\u009b".
std::string printable_json(std::string_view json);
using locant::csv_field;
/// Shell pattern: * ? [a-z].
bool glob_match(std::string_view pattern, std::string_view text);

/// A file or folder that comes with Locant ("digits/digits.safetensors", "digits", "photos"): under
/// $LOCANT_DATA,
/// ../share/locant beside the executable, the installed share/locant, or the source tree. Empty when nowhere.
std::string find_bundled(const std::string& name);
/// Throws Error that names the places looked at.
std::string require_bundled(const std::string& name);

/// Throws Error, before any work is done, unless a file can be written there.
void require_writable(const std::string& path);

/// Lines of a text file (class names), without a byte order mark and empty ones at the end. Throws Error.
std::vector<std::string> read_lines(const std::string& path);

/// Most memory that this process held at once, in bytes (VmHWM).
std::int64_t peak_rss_bytes();

}  // namespace locant::cli
