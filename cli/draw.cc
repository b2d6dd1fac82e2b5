// locant draw: a picture of what a position encoding does, or its numbers.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/cli.h"
#include "cli/drawn.h"
#include "cli/outputs.h"
#include "core/error.h"
#include "position/catalogue/all.h"

namespace locant::cli {
namespace draw_command {
namespace {

struct Options {
  std::string name, variant, output, folder, grid, key_grid;
  std::int64_t prefix = -1, heads = 0, width = 0, query = -1, cell = 0;
  std::uint64_t seed = 1;
  bool text = false, json = false;
};

EncodingCase chosen_case(const Encoding& encoding, const Options& options) {
  EncodingCase c = drawing_case(encoding, options.variant);
  if (!options.grid.empty()) c.query = c.key = parse_grid(options.grid);
  if (!options.key_grid.empty()) c.key = parse_grid(options.key_grid);
  if (options.prefix >= 0) c.prefix = options.prefix;
  if (options.heads > 0) c.H = options.heads;
  if (options.width > 0) c.D = c.Dv = options.width;
  c.B = 1;
  c.seed = options.seed;
  return c;
}

std::string grid_text(const Grid& grid) {
  return grid.frames > 1 ? fmt::format("{} x {} x {}", grid.frames, grid.rows, grid.columns)
                         : fmt::format("{} x {}", grid.rows, grid.columns);
}

int draw(const Encoding& encoding, const Options& options, const std::string& path,
         const GlobalOptions& globals) {
  const EncodingCase c = chosen_case(encoding, options);
  Drawing drawing = draw_encoding(encoding, c);
  const bool one = options.query >= 0;
  if (one) drawing = query_drawing(drawing, c, options.query);
  if (options.json) {
    write_out(drawing_json(drawing, encoding, c));
    return kOk;
  }
  if (options.text) {
    write_out(drawing_text(drawing));
    return kOk;
  }
  const Image picture = one ? painted(drawing, options.cell) : painted(drawing, c, options.cell);
  save_png(path, picture);
  const std::string line =
      fmt::format("wrote {}: {}{}{}, {} tokens, {} x {} numbers as {} x {} pixels", output_name(path),
                  encoding.name, c.variant.empty() ? "" : ":", c.variant, grid_text(c.query), drawing.rows,
                  drawing.columns, picture.columns, picture.rows);
  path == "-" ? write_note(globals, line) : write_out(line + "\n");
  return kOk;
}

int run(const Options& options, const GlobalOptions& globals) {
  require(options.name.empty() != options.folder.empty(), "draw",
          "give the name of one encoding (locant list encodings), or --all FOLDER");
  if (options.folder.empty()) {
    const Encoding& encoding = find_encoding(options.name);
    const std::string path = options.output.empty() ? options.name + ".png" : options.output;
    Outputs outputs;
    if (!options.text && !options.json) outputs.add("-o", path);
    banner(globals);
    return draw(encoding, options, path, globals);
  }
  std::error_code code;
  std::filesystem::create_directories(options.folder, code);
  require(std::filesystem::is_directory(options.folder), "draw", "cannot make the folder {}: {}",
          options.folder, code.message());
  banner(globals);
  for (const Encoding* encoding : encodings())
    draw(*encoding, options, (std::filesystem::path(options.folder) / encoding->name).string() + ".png",
         globals);
  return kOk;
}

constexpr const char* kExamples =
    "locant draw swin_bias\n"
    "locant draw swin_bias --grid 2x2 --text\n"
    "locant draw irpe --variant euclidean_contextual_k --grid 15x15 --query 112 -o bucket.png\n"
    "locant draw alibi --grid 32 --cell 8\n"
    "locant draw --all docs/encodings\n";

void add_sizes(CLI::App* sub, const std::shared_ptr<Options>& options) {
  sub->add_option("--variant", options->variant,
                  "Of the encoding's own; without it the usual one, or one that shows more")
      ->type_name("NAME");
  sub->add_option("--grid", options->grid,
                  "Tokens: N, ROWSxCOLUMNS or FRAMESxROWSxCOLUMNS; otherwise about 64 of them")
      ->type_name("HxW");
  sub->add_option("--key-grid", options->key_grid, "Keys, where they are not the queries' tokens")
      ->type_name("HxW");
  const auto size = [sub](const char* flag, std::int64_t& value, std::int64_t least, std::int64_t most,
                          const char* what) {
    sub->add_option(flag, value, what)->type_name("N")->default_str("")->check(CLI::Range(least, most));
  };
  size("--prefix", options->prefix, 0, 4096, "Special tokens in front, such as the class token");
  size("--heads", options->heads, 1, 64, "Heads");
  size("--d", options->width, 1, 512, "Head width");
  size("--query", options->query, 0, 4095, "Only this query's row, laid over the grid of the keys");
  size("--cell", options->cell, 1, 1024, "Pixels a number; otherwise what makes about 256 a side");
  sub->add_option("--seed", options->seed, "Of learned numbers, which are random here")->type_name("N");
}

}  // namespace
}  // namespace draw_command

void add_draw(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<draw_command::Options>();
  CLI::App* sub =
      add_command(app, globals, "draw", "Draws a position encoding: its index matrix, its numbers",
                  draw_command::kExamples, [options, &globals] { return run(*options, globals); });
  sub->add_option("ENCODING", options->name, "As locant list encodings names it");
  CLI::Option* output =
      sub->add_option("-o,--output", options->output, "PNG, - for stdout; otherwise ENCODING.png here")
          ->type_name("FILE");
  add_sizes(sub, options);
  CLI::Option* text = sub->add_flag("--text", options->text, "Print the numbers instead, . where none is");
  CLI::Option* json = sub->add_flag("--json", options->json, "Print one JSON object instead");
  CLI::Option* all = sub->add_option("--all", options->folder, "Draw every encoding: FOLDER/ENCODING.png")
                         ->type_name("FOLDER");
  text->excludes(json)->excludes(output);
  json->excludes(output);
  for (const char* flag : {"ENCODING", "--output", "--variant", "--grid", "--key-grid", "--prefix", "--heads",
                           "--d", "--query", "--text", "--json"})
    all->excludes(sub->get_option(flag));
}

}  // namespace locant::cli
