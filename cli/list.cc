// locant list: models, segmenters, encodings and ops by name.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/cli.h"
#include "cli/ops_table.h"
#include "core/error.h"
#include "models/registry.h"
#include "position/catalogue/all.h"

namespace locant::cli {
namespace list_command {
namespace {

constexpr const char* kSegmenters = "sam";  // the family that is listed apart

struct Options {
  std::string pattern;
  bool json = false;
};

class Lister {
 public:
  Lister(const Options& options) : options_(options), all_(options.pattern.empty()) {}

  int run() {
    models();
    segmenters();
    listed_encodings();
    ops();
    require(shown_ > 0, "list", "nothing is called {}; locant list shows everything", options_.pattern);
    return kOk;
  }

 private:
  bool wanted(const char* kinds, const std::string& name) const {
    return all_ || options_.pattern == kinds || glob_match(options_.pattern, name);
  }

  void heading(const char* kinds, bool& printed) {
    if (!printed && !options_.json) out("{}{}\n", shown_ > 0 ? "\n" : "", kinds);
    printed = true;
  }

  void models() {
    bool printed = false;
    std::size_t width = 0;
    for (const ModelEntry& entry : model_entries()) width = std::max(width, entry.name.size());
    for (const ModelEntry& entry : model_entries()) {
      if (entry.family == kSegmenters) continue;
      const bool by_alias = std::any_of(entry.aliases.begin(), entry.aliases.end(),
                                        [&](const std::string& alias) { return wanted("models", alias); });
      if (!by_alias && !wanted("models", entry.name)) continue;
      heading("models", printed);
      ++shown_;
      print(entry, width);
    }
  }

  static std::unique_ptr<Model> shapes_of(const ModelEntry& entry) {
    ShapeSource source;
    return make_model(entry.family, entry.config, Weights(source, WeightMode::shapes));
  }

  void print(const ModelEntry& entry, std::size_t width) const {
    const std::unique_ptr<Model> model = shapes_of(entry);
    const std::int64_t numbers = model->num_parameters(), rows = model->sees() ? entry.preprocess.rows : 0,
                       columns = model->sees() ? entry.preprocess.columns : 0;
    const std::string takes = rows > 0 ? fmt::format("{}x{}", rows, columns) : model->inputs().front().name;
    if (!options_.json) {
      out("  {:<{}}  {:>7.2f} M  {:<7}  {}{}{}\n", entry.name, width, static_cast<double>(numbers) * 1e-6,
          takes, fmt::join(entry.aliases, ", "), entry.aliases.empty() || entry.note.empty() ? "" : "; ",
          entry.note);
      return;
    }
    std::vector<std::string> aliases;
    for (const std::string& alias : entry.aliases) aliases.push_back(json_string(alias));
    out("{{\"kind\":\"model\",\"name\":{},\"aliases\":[{}],\"family\":{},\"parameters\":{},\"rows\":{},"
        "\"columns\":{},\"preprocessing\":{},\"namings\":[{}],\"note\":{}}}\n",
        json_string(entry.name), fmt::join(aliases, ","), json_string(entry.family), numbers, rows, columns,
        model->sees() ? entry.preprocess.to_json() : "null", fmt::join(namings(entry.family), ","),
        json_string(entry.note));
  }

  /// Whose names its checkpoints may have, as JSON texts, each once.
  static std::vector<std::string> namings(const std::string& family) {
    std::vector<std::string> out;
    for (const Renames& renames : renames_of(family)) {
      const std::string text = json_string(renames.naming);
      if (!renames.naming.empty() && std::find(out.begin(), out.end(), text) == out.end())
        out.push_back(text);
    }
    return out;
  }

  void segmenters() {
    bool printed = false;
    for (const ModelEntry& entry : model_entries()) {
      const bool by_alias = std::any_of(entry.aliases.begin(), entry.aliases.end(),
                                        [&](const std::string& alias) { return wanted("segment", alias); });
      if (entry.family != kSegmenters || (!by_alias && !wanted("segment", entry.name))) continue;
      heading("segment", printed);
      ++shown_;
      const std::int64_t numbers = shapes_of(entry)->num_parameters();
      if (options_.json)
        out("{{\"kind\":\"segment\",\"name\":{},\"parameters\":{},\"note\":{}}}\n", json_string(entry.name),
            numbers, json_string(entry.note));
      else
        out("  {:<12}  {:>7.2f} M  {}\n", entry.name, static_cast<double>(numbers) * 1e-6, entry.note);
    }
  }

  void listed_encodings() {
    bool printed = false;
    for (const Encoding* encoding : encodings()) {
      if (!wanted("encodings", encoding->name)) continue;
      const bool first = !printed;
      heading("encodings", printed);
      if (first && !options_.json)
        out("  H heads, N tokens (queries, keys alike), h w sides of the grid, D head width, C = H D\n");
      ++shown_;
      options_.json ? print_json(*encoding) : print(*encoding);
    }
  }

  static void print(const Encoding& e) {
    out("  {:<20}  {}\n{:24}acts on {}; becomes: {}\n{:24}parameters {}; multiply-adds {}; floats {}\n",
        e.name, e.title, "", place_name(e.place), e.lowering, "", e.parameters, e.multiply_adds, e.memory);
  }

  static void print_json(const Encoding& e) {
    const auto text = [](const char* value) { return json_string(value); };
    out("{{\"kind\":\"encoding\",\"name\":{},\"header\":{},\"note\":{},\"place\":{},\"paper\":{},"
        "\"models\":{},\"formula\":{},\"lowering\":{},\"parameters\":{},\"multiply_adds\":{},\"memory\":{}}}"
        "\n",
        text(e.name), json_string(fmt::format("position/{}.h", e.name)), text(e.title),
        text(place_name(e.place)), text(e.paper), text(e.models), text(e.formula), text(e.lowering),
        text(e.parameters), text(e.multiply_adds), text(e.memory));
  }

  void ops() {
    bool printed = false;
    for (const Named& op : kOps) {
      if (!wanted("ops", op.name)) continue;
      heading("ops", printed);
      ++shown_;
      if (options_.json)
        out("{{\"kind\":\"op\",\"name\":{},\"header\":{},\"note\":{}}}\n", json_string(op.name),
            json_string(op.header), json_string(op.what));
      else
        out("  {:<27}  {:<24}  {}\n", op.name, op.header, op.what);
    }
  }

  const Options& options_;
  const bool all_;
  int shown_ = 0;
};

}  // namespace
}  // namespace list_command

void add_list(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<list_command::Options>();
  CLI::App* sub =
      add_command(app, globals, "list", "Lists models, position encodings and ops",
                  "locant list\nlocant list models\nlocant list 'swin*'\nlocant list ops --json\n",
                  [options] { return list_command::Lister(*options).run(); });
  sub->add_option("PATTERN", options->pattern, "models, segment, encodings, ops, or a name with * ? [a-z]");
  sub->add_flag("--json", options->json, "One JSON object a line");
}

}  // namespace locant::cli
