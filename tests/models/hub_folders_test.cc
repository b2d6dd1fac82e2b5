// Tiny folders and files of the official libraries (scripts/goldens/make_hub_fixtures.py): what each says it
// is, and its answers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/load.h"

namespace locant {
namespace hub_folders_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kFolder = fs::path(LOCANT_TEST_DATA) / "hub";

class HubFolders : public ::testing::TestWithParam<std::string> {};

Json read(const fs::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

/// The input that every expectation was made with.
Tensor formula_input(const Json& shape) {
  Tensor out(Shape(shape.get<std::vector<std::int64_t>>()));
  for (std::int64_t i = 0; i < out.numel(); ++i)
    out[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i) + 0.11 * static_cast<double>(i % 7)));
  return out;
}

/// Largest difference over the largest number.
double difference(const float* got, const std::vector<double>& want) {
  double most = 0.0, unit = 1e-12;
  for (std::size_t i = 0; i < want.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(got[i]) - want[i]));
    unit = std::max(unit, std::abs(want[i]));
  }
  return most / unit;
}

LoadOptions options_of(const Json& expected) {
  LoadOptions options;
  const Json hints = expected.value("command", Json::object());
  if (hints.contains("key")) options.key = hints["key"].get<std::string>();
  if (hints.contains("model")) options.model = hints["model"].get<std::string>();
  if (hints.contains("config")) options.config = hints["config"].dump();
  if (hints.contains("ignore")) {
    if (hints["ignore"].is_array())
      options.ignore = hints["ignore"].get<std::vector<std::string>>();
    else
      options.ignore = {hints["ignore"].get<std::string>()};
  }
  return options;
}

void expect_refused(const Json& expected, const std::string& path) {
  try {
    load_model(path, options_of(expected));
    FAIL() << "loaded";
  } catch (const Error& error) {
    for (const auto& word : expected["error_contains"])
      EXPECT_NE(std::string(error.what()).find(word.get<std::string>()), std::string::npos)
          << word << " in: " << error.what();
  }
}

Var tensor_of(const Json& rows) {
  const auto numbers = rows.get<std::vector<std::vector<float>>>();
  Tensor out({static_cast<std::int64_t>(numbers.size()), static_cast<std::int64_t>(numbers.at(0).size())});
  std::int64_t at = 0;
  for (const std::vector<float>& row : numbers)
    for (const float x : row) out[at++] = x;
  return Var(std::move(out));
}

/// A model of sequences: its first output.
void expect_reading(const Json& expected, const Model& model) {
  const Json& input = expected["input"];
  Values in = {{model.inputs().front().name, input.contains("ids")
                                                 ? tensor_of(input["ids"])
                                                 : Var(formula_input(input["frames"]["shape"]))}};
  for (const Port& port : model.inputs())
    if (port.kind == Port::Kind::mask && input.contains("mask")) in.set(port.name, tensor_of(input["mask"]));
  if (input.contains("segment_len"))
    in.set("segment_len", Var(Tensor::full({1}, input["segment_len"].get<float>())));
  const Var got = model.run({}, in).front();
  EXPECT_EQ(got.shape(), Shape(expected["output"]["shape"].get<std::vector<std::int64_t>>()));
  const auto want = expected["output"]["values"].get<std::vector<double>>();
  ASSERT_EQ(got.value().numel(), static_cast<std::int64_t>(want.size()));
  EXPECT_LE(difference(got.value().data(), want), expected["tolerance"].get<double>());
}

void expect_answers(const Json& expected, const Model& model) {
  if (expected["input"].contains("ids") || expected["input"].contains("frames"))
    return expect_reading(expected, model);
  const double bound = expected.value("tolerance", 2e-5);
  const Var input(formula_input(expected["input"]["shape"]));
  const auto numbers = [](const Json& list) { return list.get<std::vector<double>>(); };
  if (expected.contains("logits") && !expected["logits"].is_null()) {
    const std::vector<double> want = numbers(expected["logits"]);
    const Tensor got = model.forward(Context{}, input).value();
    ASSERT_EQ(got.numel(), static_cast<std::int64_t>(want.size()));
    EXPECT_LE(difference(got.data(), want), bound);
    return;
  }
  const Features features = model.features(Context{}, input);
  for (const char* key : {"cls", "mean"}) {
    if (!expected.contains(key) || expected[key].is_null()) continue;
    const std::vector<double> want = numbers(expected[key]["values"]);
    ASSERT_EQ(features.cls.value().numel(), static_cast<std::int64_t>(want.size()));
    EXPECT_LE(difference(features.cls.value().data(), want), bound);
    return;  // the mean is that of a model without a class token
  }
  ASSERT_TRUE(
      expected.contains("embedding"));         // Segment Anything's, (1, C, rows, columns), the first of them
  const Var& tokens = features.last().tokens;  // (1, rows * columns, C)
  const std::vector<double> want = numbers(expected["embedding"]["values"]);
  std::vector<float> got;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const auto n = static_cast<std::int64_t>(i), N = tokens.dim(1), C = tokens.dim(2);
    got.push_back(tokens.value()[n % N * C + n / N]);
  }
  EXPECT_LE(difference(got.data(), want), bound);
}

TEST_P(HubFolders, LoadsAndAnswersAsItsLibrary) {
  const fs::path folder = kFolder / GetParam();
  const Json expected = read(folder / "expected.json");
  const std::string path = (folder / expected["path"].get<std::string>()).lexically_normal().string();
  if (!expected["loads"].get<bool>()) return expect_refused(expected, path);
  const LoadedModel loaded = load_model(path, options_of(expected));
  EXPECT_EQ(loaded.model->family().name, expected["family"].get<std::string>());
  EXPECT_EQ(loaded.model->num_classes(), expected.value("num_classes", Json(0)).get<std::int64_t>());
  if (expected.contains("classes") && expected["classes"].is_array()) {
    EXPECT_EQ(loaded.classes, expected["classes"].get<std::vector<std::string>>());
  }
  const std::string prefix = expected["prefix"].get<std::string>();  // behind the level of the file
  EXPECT_TRUE(loaded.key.ends_with(prefix)) << loaded.key << " is no " << prefix;
  if (expected["answer"].is_string()) {
    const LoadedModel::Answer answer = loaded.answer;
    const bool each = answer == LoadedModel::Answer::each_class,
               values = answer == LoadedModel::Answer::values;
    EXPECT_EQ(expected["answer"].get<std::string>(), each ? "each_class" : values ? "values" : "one_class");
  }
  expect_answers(expected, *loaded.model);
}

std::vector<std::string> cases() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(kFolder))
    if (fs::exists(entry.path() / "expected.json")) out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

INSTANTIATE_TEST_SUITE_P(Files, HubFolders, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
});

}  // namespace hub_folders_test
}  // namespace locant
