// locant list: models, encodings and ops by name.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/cli.h"
#include "core/error.h"
#include "models/registry.h"

namespace locant::cli {
namespace {

struct Options {
  std::string pattern;
  bool json = false;
};

struct Named {
  const char* name;
  const char* header;
  const char* what;
};

constexpr Named kEncodings[] = {
    {"learned_absolute", "position/learned_absolute.h",
     "a learned row per token, resized to other grids (ViT, DeiT, DINOv2)"},
    {"sincos", "position/sincos.h", "fixed 2-D sine-cosine rows (SimpleViT)"},
    {"swin_bias", "position/swin_bias.h",
     "a learned number per head and displacement within a window (Swin)"},
};

constexpr Named kOps[] = {
    {"attention", "ops/attention.h", "fused multi-head attention with score terms, masks and row maps"},
    {"attention_composed", "ops/attention.h",
     "the same from matmul, add, softmax, matmul: oracle and baseline"},
    {"linear", "ops/linear.h", "x W^T + b; packed once for inference, with GELU and residual fused"},
    {"matmul", "ops/matmul.h", "alpha op(A) op(B) + beta C"},
    {"conv2d", "ops/conv2d.h", "convolution with stride, padding and groups"},
    {"layer_norm", "ops/norm.h", "normalisation over the last axis"},
    {"softmax", "ops/softmax.h", "over the last axis"},
    {"gelu", "ops/elementwise.h", "exact GELU"},
    {"swiglu", "ops/elementwise.h", "silu(a) b on [a | b]"},
    {"layer_scale", "ops/elementwise.h", "gamma x + residual"},
    {"add", "ops/elementwise.h", "sum, with broadcasting over leading axes"},
    {"dropout", "ops/elementwise.h", "zeroes elements while training"},
    {"drop_path", "ops/elementwise.h", "zeroes samples while training"},
    {"cross_entropy", "ops/loss.h", "with label smoothing"},
    {"mean_pool", "ops/layout.h", "mean over tokens"},
    {"concat_rows", "ops/layout.h", "tokens of several tensors in a row"},
    {"patchify", "ops/layout.h", "picture to patches"},
    {"merge_patches", "ops/layout.h", "2 x 2 tokens to one (Swin)"},
    {"resize", "ops/resize.h", "bilinear and bicubic resampling of grids, both antialias rules"},
};

class Lister {
 public:
  Lister(const Options& options) : options_(options), all_(options.pattern.empty()) {}

  int run() {
    models();
    named("encodings", "encoding", kEncodings, std::size(kEncodings));
    named("ops", "op", kOps, std::size(kOps));
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
      const bool by_alias = std::any_of(entry.aliases.begin(), entry.aliases.end(),
                                        [&](const std::string& alias) { return wanted("models", alias); });
      if (!by_alias && !wanted("models", entry.name)) continue;
      heading("models", printed);
      ++shown_;
      std::int64_t numbers = 0;
      for (const Parameter& parameter : model_parameters(entry.family, entry.config))
        numbers += parameter.shape.numel();
      print(entry, numbers, width);
    }
  }

  void print(const ModelEntry& entry, std::int64_t numbers, std::size_t width) const {
    if (!options_.json) {
      out("  {:<{}}  {:>7.2f} M  {}x{}  {}{}{}\n", entry.name, width, static_cast<double>(numbers) * 1e-6,
          entry.preprocess.rows, entry.preprocess.columns, fmt::join(entry.aliases, ", "),
          entry.aliases.empty() || entry.note.empty() ? "" : "; ", entry.note);
      return;
    }
    std::vector<std::string> aliases;
    for (const std::string& alias : entry.aliases) aliases.push_back(json_string(alias));
    out("{{\"kind\":\"model\",\"name\":{},\"aliases\":[{}],\"family\":{},\"parameters\":{},\"rows\":{},"
        "\"columns\":{},"
        "\"note\":{}}}\n",
        json_string(entry.name), fmt::join(aliases, ","), json_string(entry.family), numbers,
        entry.preprocess.rows, entry.preprocess.columns, json_string(entry.note));
  }

  void named(const char* kinds, const char* kind, const Named* rows, std::size_t count) {
    bool printed = false;
    for (std::size_t i = 0; i < count; ++i) {
      if (!wanted(kinds, rows[i].name)) continue;
      heading(kinds, printed);
      ++shown_;
      if (options_.json)
        out("{{\"kind\":\"{}\",\"name\":{},\"header\":{},\"note\":{}}}\n", kind, json_string(rows[i].name),
            json_string(rows[i].header), json_string(rows[i].what));
      else
        out("  {:<18}  {:<27}  {}\n", rows[i].name, rows[i].header, rows[i].what);
    }
  }

  const Options& options_;
  const bool all_;
  int shown_ = 0;
};

}  // namespace

void add_list(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      add_command(app, globals, "list", "Lists models, position encodings and ops",
                  "locant list\nlocant list models\nlocant list 'swin*'\nlocant list ops --json\n",
                  [options] { return Lister(*options).run(); });
  sub->add_option("PATTERN", options->pattern, "models, encodings, ops, or a name with * ? [a-z]");
  sub->add_flag("--json", options->json, "One JSON object a line");
}

}  // namespace locant::cli
