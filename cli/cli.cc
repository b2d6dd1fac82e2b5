#include "cli/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/output.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/version.h"
#include "simd/isa.h"

namespace locant::cli {

namespace fs = std::filesystem;

CLI::App* add_command(CLI::App& app, GlobalOptions& globals, const std::string& name,
                      const std::string& description, const std::string& examples,
                      std::function<int()> body) {
  CLI::App* sub = app.add_subcommand(name, description);
  sub->option_defaults()->always_capture_default();
  sub->fallthrough();  // --threads and --quiet may stand anywhere
  std::string footer = "Everywhere: --threads N, --quiet (see locant --help)\nExamples:\n";
  std::size_t begin = 0;
  while (begin < examples.size()) {
    const std::size_t end = std::min(examples.find('\n', begin), examples.size());
    footer += "  " + examples.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  footer.pop_back();
  sub->footer(footer);
  if (body) sub->callback([&globals, body = std::move(body)] { globals.command = body; });
  return sub;
}

void banner(const GlobalOptions& globals) {
  const std::string reason = isa_reason();  // throws on a wrong LOCANT_ISA, quiet or not
  const int threads = num_threads();
  note(globals, "locant {}, {}, {} thread{}", version(), reason, threads, threads == 1 ? "" : "s");
}

void write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) return;
  if (errno == EPIPE) throw ReaderGone();
  fail("stdout", "cannot write the results: {}", std::strerror(errno));
}

void flush_out() {
  if (std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw ReaderGone();
  fail("stdout", "cannot write the results: {}", std::strerror(errno));
}

void write_note(const GlobalOptions& globals, std::string_view text) {
  if (globals.quiet) return;
  const std::string line = printable(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void warn(std::string_view text) {
  const std::string line = fmt::format("locant: warning: {}\n", printable(text));
  std::fwrite(line.data(), 1, line.size(), stderr);
}

bool is_terminal(int descriptor) { return isatty(descriptor) == 1; }

namespace {

std::vector<std::string> bundled_roots() {
  std::vector<std::string> roots;
  if (const char* data = std::getenv("LOCANT_DATA"); data != nullptr && *data != '\0') roots.push_back(data);
  std::error_code code;
  const fs::path executable = fs::read_symlink("/proc/self/exe", code);
  if (!code) roots.push_back((executable.parent_path().parent_path() / "share/locant").string());
  roots.push_back(LOCANT_SHARE_DIR);
  for (const char* folder : {"/examples", "/tests/data", ""})
    roots.push_back(std::string(LOCANT_SOURCE_DIR) + folder);
  return roots;
}

}  // namespace

std::string find_bundled(const std::string& name) {
  for (const std::string& root : bundled_roots()) {
    const std::string path = root + "/" + name;
    std::error_code code;
    if (fs::exists(path, code)) return path;
  }
  return {};
}

std::string require_bundled(const std::string& name) {
  const std::string path = find_bundled(name);
  require(!path.empty(), "data", "{} is in none of: {}; LOCANT_DATA names another place", name,
          fmt::join(bundled_roots(), ", "));
  return path;
}

void require_writable(const std::string& path) {
  const fs::path folder = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
  std::error_code code;
  require(fs::is_directory(folder, code), "output", "cannot write {}: there is no folder {}", path,
          folder.string());
  require(access(folder.c_str(), W_OK | X_OK) == 0, "output", "cannot write {}: {}", path,
          std::strerror(errno));
  const fs::file_status status = fs::status(path, code);
  require(!fs::is_directory(status), "output", "cannot write {}: it is a folder", path);
  require(!fs::exists(status) || fs::is_regular_file(status), "output",
          "cannot write {}: it is not a regular file (- is standard output)", path);
}

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file(path);
  require(file.is_open(), "labels", "cannot open {}: {}", path, std::strerror(errno));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(line);
  }
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (!lines.empty() && lines.front().starts_with(kByteOrderMark))
    lines.front().erase(0, kByteOrderMark.size());
  require(!file.bad(), "labels", "cannot read {}; is it a text file?", path);
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

std::int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::atoll(line.c_str() + 6) * 1024;
  return 0;
}

}  // namespace locant::cli
