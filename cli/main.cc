#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "cli/cli.h"
#include "cli/convert.h"
#include "cli/output.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/spin.h"
#include "core/version.h"

namespace locant::cli {
namespace {

/// Help as "  -k,--top N   Answers a picture [5]": the value's name beside the option, the default behind the
/// text.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(26); }
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    const std::string name = CLI::Formatter::make_option_name(option, positional);
    return name.substr(0, name.find('{'));  // "--no-x{false}"
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_positional() || option->get_type_size() == 0) return {};
    const std::string type = option->get_type_name();
    return " " + type.substr(0, type.find(':'));  // "N:INT in [1 - 4096]"
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string& value = option->get_default_str();
    const bool plain =
        option->get_type_size() != 0 && !value.empty() && value != "\"\"" && value != "[]" && value != "{}";
    return option->get_description() + (plain ? " [" + value + "]" : "");
  }
};

int fail_with(const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "locant: %s\n", printable(message).c_str());
  return kUserError;
}

/// Where the help of the command in use is: "locant bench model --help".
std::string help_hint(const CLI::App& app) {
  std::string words = app.get_name();
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    words += " " + at->get_name();
  }
  return words + " --help";
}

std::string first_line(std::string text) {
  for (char& c : text)
    if (c == '\n') c = ' ';
  return text;
}

int parse_and_run(CLI::App& app, GlobalOptions& globals, int argc, char** argv) {
  if (argc < 2) {
    std::fputs(app.help().c_str(), stderr);
    return kUserError;
  }
  const std::string first = argv[1];
  std::vector<std::string> names;
  for (const CLI::App* sub : std::as_const(app).get_subcommands({})) names.push_back(sub->get_name());
  if (!first.empty() && first[0] != '-' && std::find(names.begin(), names.end(), first) == names.end())
    return fail_with(fmt::format("there is no command '{}'; commands: {}", first, fmt::join(names, " ")));
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    write_out(app.help());
    return kOk;
  } catch (const CLI::CallForVersion&) {
    out("locant {}\n", version());
    return kOk;
  } catch (const CLI::ParseError& error) {
    return fail_with(fmt::format("{} (see {})", first_line(error.what()), help_hint(app)));
  }
  if (globals.threads > 0) set_num_threads(globals.threads);
  shorten_spinning();
  return globals.command();
}

int run_main(int argc, char** argv) {
  CLI::App app{"Locant: position-aware attention and vision transformers on the CPU", "locant"};
  app.formatter(std::make_shared<HelpFormatter>());
  app.require_subcommand(1);
  app.set_version_flag("--version", version(), "Print the version");
  GlobalOptions globals;
  globals.arguments.assign(argv, argv + argc);
  app.add_option(
         "--threads", globals.threads,
         "Threads; default: LOCANT_NUM_THREADS, OMP_NUM_THREADS, or the cores that this process may use")
      ->type_name("N")
      ->check(CLI::Range(1, kMaxThreads));
  app.add_flag("-q,--quiet", globals.quiet, "Nothing on stderr but warnings and errors");
  app.footer(
      "Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check or some of several "
      "pictures failed,\n"
      "2 a wrong option, file or name, 130 interrupted. Environment: LOCANT_ISA=reference|sse4|avx2|avx512 "
      "forces an\n"
      "instruction set, LOCANT_NUM_THREADS=N sets the threads, LOCANT_DATA names the folder of the bundled "
      "data.\n"
      "locant COMMAND --help shows a command's options.");
  add_demo(app, globals);
  add_classify(app, globals);
  add_evaluate(app, globals);
  add_features(app, globals);
  add_segment(app, globals);
  add_embed(app, globals);
  add_train(app, globals);
  add_verify(app, globals);
  add_inspect(app, globals);
  add_convert(app, globals);
  add_list(app, globals);
  add_draw(app, globals);
  add_bench(app, globals);
  const int code = parse_and_run(app, globals, argc, argv);
  flush_out();
  return code;
}

}  // namespace
}  // namespace locant::cli

int main(int argc, char** argv) {
  using namespace locant;
  // A reader that has gone is EPIPE then, and a file being written is still finished.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return cli::run_main(argc, argv);
  } catch (const cli::ReaderGone&) {
    return cli::kOk;
  } catch (const Error& error) {
    return cli::fail_with(error.what());
  } catch (const std::bad_alloc&) {
    return cli::fail_with("not enough memory");
  } catch (const std::exception& error) {
    return cli::fail_with(error.what());
  }
}
