#include "verify/subject.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "ops/rearrange.h"
#include "verify/formula_source.h"
#include "verify/layers.h"

namespace locant {
namespace {

using Json = nlohmann::ordered_json;

/// "B C H W" as oracle files write it: "NCHW". Empty where a port takes any shape.
std::string layout_of(const std::string& axes) {
  std::string out;
  for (std::size_t at = 0; at < axes.size();
       at = axes.find(' ', at) == std::string::npos ? axes.size() : axes.find(' ', at) + 1)
    out += axes[at] == 'B' ? 'N' : axes[at] == 'N' ? 'L' : axes[at] == 'F' ? 'D' : axes[at];
  return out;
}

constexpr std::size_t kDeepest = 4;  // lists in lists of a call option

void flatten(const Json& json, std::vector<float>& numbers, std::size_t depth = 0) {
  require(depth <= kDeepest, "verify", "a call option nests deeper than {} levels", kDeepest);
  for (const Json& item : json)
    if (item.is_array())
      flatten(item, numbers, depth + 1);
    else
      numbers.push_back(item.is_boolean() ? (item.get<bool>() ? 1.0f : 0.0f) : item.get<float>());
}

/// A number or lists of them, as what the port of a call option takes.
Var option_value(const Json& json) {
  std::vector<std::int64_t> extents;
  for (const Json* at = &json; at->is_array() && !at->empty() && extents.size() < kDeepest; at = &(*at)[0])
    extents.push_back(static_cast<std::int64_t>(at->size()));
  std::vector<float> numbers;
  flatten(Json::array({json}), numbers);
  Tensor out{extents.empty() ? Shape{1} : Shape(extents)};
  require(out.numel() == static_cast<std::int64_t>(numbers.size()), "verify",
          "a call option is {}; a number, or lists of equal length, up to {} deep", json.dump().substr(0, 60),
          kDeepest);
  std::copy(numbers.begin(), numbers.end(), out.data());
  return Var(std::move(out));
}

/// x of the file's layout as the port has it, or back.
Var in_layout(const Context& ctx, const Var& x, const std::string& from, const std::string& to) {
  const std::vector<int> order = x.defined() && x.shape().rank() == static_cast<int>(from.size())
                                     ? axes_between(from, to)
                                     : std::vector<int>();
  return order.empty() ? x : permute(ctx, x, order);
}

/// A model between the names and layouts of the file and its own.
class ModelRun {
 public:
  ModelRun(const OracleFile& file, const Renames& renames, std::shared_ptr<const Model> model, Values options)
      : file_(file), renames_(renames), model_(std::move(model)), options_(std::move(options)) {}

  std::vector<Var> operator()(const Context& ctx, const std::vector<Var>& in) const {
    const std::vector<Port> ports = model_->inputs(), results = model_->outputs();
    Values values = options_;
    for (std::size_t n = 0; n < in.size(); ++n) {
      const Port& port = port_of(ports, file_.inputs[n].name, n);
      values.set(port.name, in_layout(ctx, in[n], file_.in_layout, layout_of(port.axes)));
    }
    const Values out = model_->run(ctx, values);
    std::vector<Var> named = {of_file(ctx, results[0].axes, out.get(results[0].name))};
    for (const OracleTensor& extra : file_.extra_outputs)
      named.push_back(out.get(renames_.to_ours(extra.name)));
    return named;
  }

 private:
  Var of_file(const Context& ctx, const std::string& axes, const Var& value) const {
    return in_layout(ctx, value, layout_of(axes), file_.out_layout);
  }
  /// The port of this name; a file's only input needs no name.
  const Port& port_of(const std::vector<Port>& ports, const std::string& name, std::size_t n) const {
    const auto it =
        std::find_if(ports.begin(), ports.end(), [&](const Port& port) { return port.name == name; });
    if (it != ports.end()) return *it;
    require(n == 0 && file_.inputs.size() == 1, "verify", "{}: {} has no input \"{}\"", file_.path,
            file_.family, name);
    return ports.front();
  }

  const OracleFile& file_;
  const Renames& renames_;
  std::shared_ptr<const Model> model_;
  Values options_;
};

bool is_family(const std::string& name) {
  return std::any_of(families().begin(), families().end(), [&](const Family* f) { return name == f->name; });
}

/// What the naming fills and the file decides; the options of the call go to `options`.
std::string model_config(const OracleFile& file, const Renames& renames, const Family& family,
                         Values& options) {
  Json config = Json::parse(file.config);
  for (const char* key : {"layout", "init"})
    config.erase(key);  // of a layer's file: of the call, and of the numbers
  for (const std::string& key : family.call_options()) {
    const auto it = config.find(key);
    if (it == config.end()) continue;
    options.set(key, option_value(*it));
    config.erase(it);
  }
  return renames.complete(config.dump());
}

}  // namespace

std::vector<int> axes_between(const std::string& from, const std::string& to) {
  if (from == to || from.size() != to.size()) return {};
  std::vector<int> order;
  for (const char axis : to) {
    const std::size_t at = from.find(axis);
    if (at == std::string::npos || from.find(axis, at + 1) != std::string::npos) return {};
    order.push_back(static_cast<int>(at));
  }
  return order;
}

OracleSubject build_subject(const OracleFile& file, const Renames& renames, WeightMode mode) {
  FormulaSource source(file, renames);
  const Weights weights(source, mode);
  OracleSubject out;
  if (file.layer.empty() || is_family(file.layer)) {
    const Family& family = find_family(file.layer.empty() ? file.family : file.layer);
    Values options;
    const std::string config = model_config(file, renames, family, options);
    const std::shared_ptr<const Model> model = build_model(family, config, weights);
    out.run = ModelRun(file, renames, model, std::move(options));
    out.parameters = model->parameters();
  } else {
    out.run = [layer = make_layer(file.layer, LayerArgs(file.config), weights),
               n = file.extra_outputs.size()](const Context& ctx, const std::vector<Var>& in) {
      std::vector<Var> results = layer(ctx, in);
      results.resize(1 + n);
      return results;
    };
    out.parameters = weights.parameters();
  }
  out.problems = source.problems();
  return out;
}

}  // namespace locant
