#include "verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "core/sha256.h"
#include "models/config_json.h"
#include "models/family.h"
#include "models/renames.h"
#include "verify/formula.h"
#include "verify/formula_source.h"
#include "verify/oracle_file.h"
#include "verify/subject.h"

namespace locant {
namespace {

// Of a float32 implementation; ten times the error of torch's float32 run where that is more.
constexpr double kValueBound = 5e-5, kGradientBound = 2e-4;

double bound_of(double table, double torch_error) { return std::max(table, 10.0 * torch_error); }

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

/// Keeps the stages that the file asks about.
class StageProbe final : public Probe {
 public:
  StageProbe(std::set<std::string> wanted, bool dense) : wanted_(std::move(wanted)), dense_(dense) {}
  bool dense() const override { return dense_; }
  void see(const std::string& path, const Var& value) override {
    if (wanted_.count(path) != 0) seen_.emplace(path, value);
  }
  /// Undefined where the model showed nothing.
  Var find(const std::string& path) const {
    const auto it = seen_.find(path);
    return it == seen_.end() ? Var() : it->second;
  }

 private:
  std::set<std::string> wanted_;
  bool dense_;
  std::map<std::string, Var> seen_;
};

class OracleRun {
 public:
  OracleRun(const std::string& path, const VerifyOptions& options);
  VerifyReport run();

 private:
  OracleSubject build(WeightMode mode);
  void run_recorded();
  void run_inference();
  void compare(const char* kind, const OracleTensor& want, const Var& got, double bound);
  void compare_gradients(const OracleSubject& subject, const std::vector<Var>& inputs);
  void compare_zero_gradients(const std::map<std::string, Tensor>& gradients,
                              const std::map<std::string, Tensor>& whole);
  /// What the model shows as this stage of the file.
  std::string our_path(const std::string& stage) const;
  std::set<std::string> wanted_paths() const;
  /// Number `x` of the file's extra outputs: returned, or shown as a stage.
  Var extra_output(const StageProbe& probe, const std::vector<Var>& results, std::size_t x) const {
    return results[1 + x].defined() ? results[1 + x]
                                    : probe.find(renames_.to_ours(file_.extra_outputs[x].name));
  }
  std::vector<Var> inputs(bool gradients) const;
  std::string bits_of(const Tensor& value) const;
  double value_bound(double torch_error) const { return bound_of(kValueBound, torch_error); }

  VerifyOptions options_;
  OracleFile file_;
  const Renames& renames_;
  VerifyReport report_;
};

/// Layers bear their official names.
const Renames kNoRenames;

const Renames& renames_for(const OracleFile& file) {
  if (!file.layer.empty()) return kNoRenames;
  std::vector<std::string> known;
  for (const Family* family : families()) known.emplace_back(family->name);
  require(std::find(known.begin(), known.end(), file.family) != known.end(), "verify",
          "{}: unsupported family \"{}\"; there are {}", file.path, file.family, fmt::join(known, ", "));
  const Family& family = find_family(file.family);
  return find_renames(file.family, file.naming, merge_config(family.default_config(family), file.config));
}

OracleRun::OracleRun(const std::string& path, const VerifyOptions& options)
    : options_(options), file_(read_oracle(path)), renames_(renames_for(file_)) {
  if (file_.gradients.empty() && file_.zero_gradients.empty()) {  // nothing to compare them with
    options_.gradients = false;
    report_.note = file_.stages.empty() ? "the file holds outputs only" : "the file holds no gradients";
  }
  report_.file = path;
  report_.family = file_.family;
  report_.naming = file_.naming;
}

VerifyReport OracleRun::run() {
  run_recorded();
  if (report_.problems.empty() && options_.inference) run_inference();
  return report_;
}

OracleSubject OracleRun::build(WeightMode mode) {
  OracleSubject out = build_subject(file_, renames_, mode);
  report_.problems = out.problems;
  return out;
}

std::vector<Var> OracleRun::inputs(bool gradients) const {
  std::vector<Var> out;
  for (const OracleFormula& in : file_.inputs) {
    Tensor numbers =
        in.values.empty() ? formula_tensor(in.shape, in.name, in.offset, in.scale) : Tensor(in.shape);
    for (std::size_t n = 0; n < in.values.size(); ++n)
      numbers[static_cast<std::int64_t>(n)] = static_cast<float>(in.values[n]);
    out.emplace_back(std::move(numbers), gradients);
  }
  return out;
}

std::string OracleRun::our_path(const std::string& stage) const {
  const std::string& prefix = file_.name_prefix.empty() ? renames_.prefix : file_.name_prefix;
  return renames_.to_ours(stage.starts_with(prefix) ? stage.substr(prefix.size()) : stage);
}

std::set<std::string> OracleRun::wanted_paths() const {
  std::set<std::string> out;
  for (const OracleTensor& stage : file_.stages) out.insert(our_path(stage.name));
  for (const OracleTensor& extra : file_.extra_outputs) out.insert(renames_.to_ours(extra.name));
  return out;
}

void OracleRun::run_recorded() {
  auto start = std::chrono::steady_clock::now();
  const OracleSubject subject = build(WeightMode::train);
  report_.build_ms = milliseconds_since(start);
  if (!report_.problems.empty()) return;

  Tape tape;
  StageProbe probe(wanted_paths(), !file_.dense_stages.empty());
  const Context ctx{options_.gradients ? &tape : nullptr, false, nullptr,
                    &probe};  // evaluation: nothing is dropped
  const std::vector<Var> in = inputs(options_.gradients);
  start = std::chrono::steady_clock::now();
  const std::vector<Var> results = subject.run(ctx, in);
  const Var& output = results.at(0);
  report_.forward_ms = milliseconds_since(start);

  for (const OracleTensor& stage : file_.stages)
    compare("stage", stage, probe.find(our_path(stage.name)), value_bound(file_.stage_error));
  compare("output", file_.output, output, value_bound(file_.output_error));
  std::vector<std::pair<Var, Tensor>> cotangents;
  if (output.shape() == file_.output.shape)
    cotangents.emplace_back(output, formula_tensor(output.shape(), "cotangent", 0.0, 1.0));
  for (std::size_t x = 0; x < file_.extra_outputs.size(); ++x) {
    const OracleTensor& extra = file_.extra_outputs[x];
    const Var value = extra_output(probe, results, x);
    compare("output", extra, value, value_bound(file_.output_error));
    if (value.defined())
      cotangents.emplace_back(value, formula_tensor(value.shape(), "cotangent." + extra.name, 0.0, 1.0));
  }
  if (!options_.gradients) return;
  start = std::chrono::steady_clock::now();
  tape.backward(cotangents);
  report_.backward_ms = milliseconds_since(start);
  compare_gradients(subject, in);
}

void OracleRun::run_inference() {
  const OracleSubject subject = build(WeightMode::inference);
  StageProbe probe(wanted_paths(), false);
  Context ctx;
  if (!file_.extra_outputs.empty()) ctx.probe = &probe;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Var> results = subject.run(ctx, inputs(false));
  report_.inference_ms = milliseconds_since(start);
  compare("inference", file_.output, results.at(0), value_bound(file_.output_error));
  for (std::size_t x = 0; x < file_.extra_outputs.size(); ++x)
    compare("inference", file_.extra_outputs[x], extra_output(probe, results, x),
            value_bound(file_.output_error));
}

std::string OracleRun::bits_of(const Tensor& value) const {
  if (!options_.bits) return "";
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(value.data());
  return sha256_hex({bytes, static_cast<std::size_t>(value.numel()) * sizeof(float)}).substr(0, 32);
}

void OracleRun::compare(const char* kind, const OracleTensor& want, const Var& got, double bound) {
  VerifyEntry entry{kind, want.name, 0.0, bound};
  if (!got.defined())
    entry.problem = fmt::format("the model shows no stage \"{}\"", our_path(want.name));
  else if (got.value().numel() != want.shape.numel() ||
           got.dim(-1) != want.shape[-1])  // (B, N, C) serves (B, H, W, C)
    entry.problem = fmt::format("shape {}, {} was expected", got.shape().str(), want.shape.str());
  else
    entry.error = oracle_error(got.value().values(), want);
  if (got.defined()) entry.bits = bits_of(got.value());
  report_.entries.push_back(std::move(entry));
}

/// Gradients cut up as the library's tensors are: q, k and v of a joint projection apart.
void OracleRun::compare_gradients(const OracleSubject& subject, const std::vector<Var>& inputs) {
  std::map<std::string, Tensor> gradients,
      whole;  // by the library's names; undefined: none reached the parameter
  for (std::size_t i = 0; i < inputs.size(); ++i) gradients[file_.inputs[i].name] = inputs[i].grad();
  for (const Parameter& parameter : subject.parameters) {
    const Tensor& gradient = parameter.value.grad();
    for (const SourcePiece& piece : renames_.to_library(parameter.name, parameter.shape)) {
      const bool all = piece.rows == 0 || !gradient.defined();
      const std::string theirs = file_.name_in_file(piece.name, renames_.prefix);
      gradients[theirs] = all ? gradient : gradient.slice(piece.row, piece.row + piece.rows);
      if (!all) whole[theirs] = gradient;
    }
  }
  const double bound = bound_of(kGradientBound, file_.gradient_error);
  for (const OracleTensor& want : file_.gradients) {
    VerifyEntry entry{"gradient", want.name, 0.0, bound};
    const auto found = gradients.find(want.name);
    if (found == gradients.end() || !found->second.defined()) {
      entry.problem = found == gradients.end() ? "no such parameter" : "no gradient reached it";
    } else {
      entry.error = oracle_error(found->second.values(), want);
      entry.bits = bits_of(found->second);
    }
    report_.entries.push_back(std::move(entry));
  }
  compare_zero_gradients(gradients, whole);
}

double rms(const Tensor& x) {
  double square = 0.0;
  for (const float value : x.values()) square += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(square / static_cast<double>(std::max<std::int64_t>(x.numel(), 1)));
}

/// Rounding leaves something where exact arithmetic leaves nothing: measured against what lies beside it.
void OracleRun::compare_zero_gradients(const std::map<std::string, Tensor>& gradients,
                                       const std::map<std::string, Tensor>& whole) {
  std::vector<double> units;
  for (const auto& item : gradients)
    if (item.second.defined()) units.push_back(rms(item.second));
  std::sort(units.begin(), units.end());
  for (const std::string& name : file_.zero_gradients) {
    VerifyEntry entry{"zero gradient", name, 0.0, kGradientBound};
    const auto found = gradients.find(name);
    if (found == gradients.end()) {
      if (!is_unused(file_, renames_, name)) entry.problem = "no such parameter";
    } else if (found->second.defined()) {
      const auto joint = whole.find(name);
      const double unit = joint != whole.end() ? rms(joint->second) : units[units.size() / 2];
      double largest = 0.0;
      for (const float value : found->second.values())
        if (!(std::abs(value) <= largest)) largest = std::abs(static_cast<double>(value));
      entry.error = largest == 0.0 ? 0.0 : largest / unit;
      entry.bits = bits_of(found->second);
    }
    report_.entries.push_back(std::move(entry));
  }
}

}  // namespace

VerifyReport verify_oracle(const std::string& json_path, const VerifyOptions& options) {
  return OracleRun(json_path, options).run();
}

VerifyReport verify_file(const std::string& json_path, const VerifyOptions& options) {
  if (oracle_kind(json_path) == OracleKind::model) return verify_oracle(json_path, options);
  require(!options.weights.empty(), "verify",
          "{}: an oracle of real weights on a photograph; name the checkpoint (--weights FILE)", json_path);
  return verify_real(json_path, options.weights, options.photos);
}

}  // namespace locant
