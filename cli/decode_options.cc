#include "cli/decode_options.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

namespace locant::cli {

void add_decode_options(CLI::App* sub, const GlobalOptions& globals, DecodeOptions& options) {
  options.note = [&globals](const std::string& text) {
    if (!globals.quiet && is_terminal(2)) std::fputs("\r\033[K", stderr);  // a progress bar may stand there
    write_note(globals, text);
  };
  sub->add_option("--page", options.page, "Page of a TIFF")->type_name("N")->check(CLI::Range(1, 1000000));
  const std::map<std::string, Depth16> names = {
      {"high", Depth16::high}, {"range", Depth16::range}, {"percentile", Depth16::percentile}};
  sub->add_option("--depth16", options.depth16,
                  "How 16-bit samples become bytes: high, the high byte; range, darkest to brightest sample; "
                  "percentile, without the outer 0.1 % of them")
      ->type_name("HOW")
      ->default_str("high")
      ->transform(CLI::CheckedTransformer(names, CLI::ignore_case).description(""));
}

}  // namespace locant::cli
