#include "verify/oracle_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace locant {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uintmax_t kLargestFile = 64u << 20;

/// What describes the run instead of the model.
constexpr std::array<const char*, 7> kOfTheRun = {"naming", "input_size", "in_layout",  "out_layout",
                                                  "inputs", "outputs",    "name_prefix"};

Json parse_file(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  require(!error, "verify", "{}: {}", path, error ? error.message() : "");
  require(size <= kLargestFile, "verify", "{}: {} bytes; oracle files are smaller than {}", path, size,
          kLargestFile);
  std::ifstream in(path, std::ios::binary);
  Json json = Json::parse(in, nullptr, false);
  require(json.is_object(), "verify", "{}: not a JSON object", path);
  return json;
}

/// `read` with the JSON library's complaints about missing keys and wrong types as Errors.
template <class Read>
auto checked(const std::string& path, const Read& read) {
  try {
    return read(parse_file(path));
  } catch (const nlohmann::json::exception& e) {
    fail("verify", "{}: not an oracle file as expected: {}", path, e.what());
  }
}

Shape shape_of(const Json& json) {
  const auto extents = json.get<std::vector<std::int64_t>>();
  return Shape(std::span<const std::int64_t>(extents));
}

OracleTensor tensor_of(const Json& json, std::string name) {
  OracleTensor out;
  out.name = std::move(name);
  out.layout = json.value("layout", "");
  if (json.contains("shape"))
    out.shape = shape_of(json["shape"]);
  else if (json.contains("size"))
    out.shape = Shape{json["size"].get<std::int64_t>()};
  out.norm = json.at("norm").get<double>();
  if (json.contains("samples"))
    for (const Json& sample : json["samples"])
      out.samples.emplace_back(sample.at(0).get<std::int64_t>(), sample.at(1).get<double>());
  return out;
}

/// A number, or rows of numbers, in row-major order.
void flatten(const Json& json, std::vector<double>& values) {
  if (!json.is_array()) return values.push_back(json.get<double>());
  for (const Json& item : json) flatten(item, values);
}

OracleFormula formula_of(const Json& json) {
  OracleFormula out{json.at("name").get<std::string>(),
                    shape_of(json.at("shape")),
                    json.value("offset", 0.0),
                    json.value("scale", 1.0),
                    {}};
  if (json.contains("data")) {
    flatten(json["data"], out.values);
    require(static_cast<std::int64_t>(out.values.size()) == out.shape.numel(), "verify",
            "{} of shape {} with {} numbers", out.name, out.shape.str(), out.values.size());
  } else {
    json.at("offset").get<double>();  // a formula has both
    json.at("scale").get<double>();
  }
  require(out.shape.numel() <= kLargestOracleTensor, "verify",
          "{} of shape {}; at most {} numbers can be made", out.name, out.shape.str(), kLargestOracleTensor);
  return out;
}

OracleOverride override_of(const std::string& name, const Json& json) {
  OracleOverride out;
  out.name = name;
  out.identity = json.is_string() && json.get<std::string>() == "identity";
  if (!out.identity) flatten(json, out.values);
  return out;
}

/// What to construct.
void read_build(const Json& build, OracleFile& out) {
  const std::string kind = build.at("kind").get<std::string>();
  out.family = build.at("family").get<std::string>();
  require(kind == "model" || kind == "layer", "verify",
          "{}: build.kind is \"{}\" (family {}); \"model\" or \"layer\" was expected", out.path, kind,
          out.family);
  if (kind == "layer") {
    out.layer = build.at("layer").get<std::string>();
    Json args = build.at("args");
    out.in_layout = out.out_layout = args.value("layout", "");
    out.config = args.dump();
    return;
  }
  Json kwargs = build.at("kwargs");
  out.naming = kwargs.at("naming").get<std::string>();
  out.name_prefix = kwargs.value("name_prefix", "");
  out.in_layout = kwargs.value("in_layout", "");
  out.out_layout = kwargs.value("out_layout", "");
  for (const char* key : kOfTheRun) kwargs.erase(key);
  out.config = kwargs.dump();
}

/// Of a file that holds outputs only there is none of this. Half of it is a damaged file.
void read_gradients(const Json& json, OracleFile& out) {
  const Json errors = json.value("float32_error", Json::object());
  out.output_error = errors.value("output", 0.0);
  out.stage_error = errors.value("stages", 0.0);
  if (!json.contains("gradients")) {
    require(!json.contains("stages") || !(json.contains("zero_gradients") || errors.contains("gradients")),
            "verify",
            "{}: \"gradients\" is missing beside what belongs to it; a file of outputs alone has neither "
            "stages nor zero_gradients",
            out.path);
    return;
  }
  for (const Json& item : json["gradients"])
    out.gradients.push_back(tensor_of(item, item.at("name").get<std::string>()));
  out.zero_gradients = json.value("zero_gradients", std::vector<std::string>());
  out.gradient_error = errors.at("gradients").get<double>();
}

OracleFile oracle_of(const std::string& path, const Json& json) {
  OracleFile out;
  out.path = path;
  for (const char* key : {"input", "parameters", "output"})
    require(json.contains(key), "verify", "{}: no key \"{}\": an oracle says what goes in and what comes out",
            path, key);
  read_build(json.at("build"), out);
  if (json.contains("overrides"))
    for (const auto& item : json["overrides"].items())
      out.overrides.push_back(override_of(item.key(), item.value()));
  for (const Json& item : json.at("input")) out.inputs.push_back(formula_of(item));
  for (const Json& item : json.at("parameters")) out.parameters.push_back(formula_of(item));
  out.output = tensor_of(json.at("output"), json.at("output").at("name").get<std::string>());
  if (json.contains("extra_outputs"))
    for (const Json& item : json["extra_outputs"])
      out.extra_outputs.push_back(tensor_of(item, item.at("name").get<std::string>()));
  for (const Json& item : json.value("stages", Json::array()))
    out.stages.push_back(tensor_of(item, item.at("path").get<std::string>()));
  out.dense_stages = json.value("dense_stages", std::vector<std::string>());
  read_gradients(json, out);
  return out;
}

RealOracle real_of(const std::string& path, const Json& json) {
  RealOracle out;
  out.path = path;
  out.photo = std::filesystem::path(json.at("photo").get<std::string>()).filename().string();
  out.columns = json.at("resize").at(0).get<std::int64_t>();
  out.rows = json.at("resize").at(1).get<std::int64_t>();
  require(out.columns > 0 && out.rows > 0 && out.columns <= 4096 && out.rows <= 4096, "verify",
          "{}: resize [{}, {}]; sides of 1 to 4096 were expected", path, out.columns, out.rows);
  out.resized_sha256 = json.value("resized_sha256", "");
  for (const auto& item : json.items())
    if (item.value().is_object() && item.value().contains("norm"))
      out.tensors.push_back(tensor_of(item.value(), item.key()));
  return out;
}

}  // namespace

OracleFile read_oracle(const std::string& path) {
  return checked(path, [&](const Json& json) { return oracle_of(path, json); });
}

RealOracle read_real_oracle(const std::string& path) {
  return checked(path, [&](const Json& json) { return real_of(path, json); });
}

OracleKind oracle_kind(const std::string& path) {
  const Json json = parse_file(path);
  if (json.contains("build")) return OracleKind::model;
  require(json.contains("photo") && json.contains("resize"), "verify",
          "{}: neither an oracle of a model or layer (no key \"build\" says what to construct) nor of a "
          "photograph (no key \"photo\"); lists of names, bucket tables and the like are for tests",
          path);
  return OracleKind::real;
}

double oracle_error(std::span<const float> values, const OracleTensor& want) {
  double square = 0.0;
  for (const float x : values) square += static_cast<double>(x) * static_cast<double>(x);
  const auto count = static_cast<double>(std::max<std::size_t>(values.size(), 1));
  const double unit = want.norm > 0 ? want.norm / std::sqrt(count) : 1.0;
  double worst = std::abs(std::sqrt(square) - want.norm) / (want.norm > 0 ? want.norm : 1.0);
  for (const auto& [index, value] : want.samples) {
    require(index >= 0 && static_cast<std::size_t>(index) < values.size(), "verify",
            "{}: a sample at {}, but the tensor has {} numbers", want.name, index, values.size());
    const double error =
        std::abs(static_cast<double>(values[static_cast<std::size_t>(index)]) - value) / unit;
    if (!(error <= worst)) worst = std::isnan(worst) ? worst : error;  // a NaN stays
  }
  return worst;
}

std::string OracleFile::name_in_file(const std::string& name, const std::string& prefix) const {
  const std::string plain = name_prefix + name;
  if (!name_prefix.empty() || prefix.empty()) return plain;
  const std::string prefixed = prefix + name;
  const bool has = std::any_of(parameters.begin(), parameters.end(),
                               [&](const OracleFormula& parameter) { return parameter.name == prefixed; });
  return has ? prefixed : plain;
}

}  // namespace locant
