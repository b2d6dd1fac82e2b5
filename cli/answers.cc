#include "cli/answers.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "cli/weights_options.h"
#include "core/error.h"

namespace locant::cli {

void add_labels_option(CLI::App* sub, std::string& labels) {
  sub->add_option(
         "--labels", labels,
         "Class names in index order: one a line, or JSON (a list, or an object number -> name as id2label)")
      ->type_name("FILE");
}

std::vector<std::string> read_labels(const std::string& file) {
  const std::vector<std::string> lines = read_lines(file);
  const std::string text = fmt::format("{}", fmt::join(lines, "\n"));
  const std::size_t first = text.find_first_not_of(" \t\n");
  using Json = nlohmann::json;
  Json json = first == std::string::npos || (text[first] != '{' && text[first] != '[')
                  ? Json()
                  : Json::parse(text, nullptr, false);
  if (!json.is_structured()) return lines;  // a class may be called "[unknown]"
  if (const auto inside = json.find("id2label"); inside != json.end()) json = Json(*inside);
  std::vector<std::string> out;
  for (std::size_t index = 0; index < json.size(); ++index) {
    const std::string number = fmt::format("{}", index);
    const Json name = json.is_array() ? json[index] : json.value(number, Json());
    require(name.is_string(), "labels",
            "{}: is JSON, but names no class {}: a list of names, or an object of their numbers and names, "
            "was expected",
            file, number);
    out.push_back(name.get<std::string>());
  }
  return out;
}

void use_labels(LoadedModel& loaded, const std::string& file) {
  loaded.classes = read_labels(file);
  const auto names = static_cast<std::int64_t>(loaded.classes.size()), classes = loaded.model->num_classes();
  require(names == classes, "classify", "{} holds {} names, the model has {} classes", file, names, classes);
}

void set_input_size(Preprocess& preprocess, std::int64_t size) {
  for (std::int64_t* side : {&preprocess.resize_to, &preprocess.squash_rows, &preprocess.squash_columns})
    *side = *side * size / preprocess.rows;
  preprocess.rows = preprocess.columns = size;
}

std::string answer_text(const std::string& path, const Prediction& prediction) {
  std::string text = printable(path) + "\n";
  for (const ClassScore& score : prediction.top)
    text += fmt::format("  {:6.2f} %  {}\n", score.probability * 100.0f, printable(score.label));
  return text;
}

std::string answer_csv_heading() { return "picture,rank,index,label,probability,error\n"; }

namespace {

/// Machines get names as they are, terminals what they can show.
std::string field(const std::string& text) { return csv_field(is_terminal(1) ? printable(text) : text); }

}  // namespace

std::string answer_csv(const std::string& path, const Prediction& prediction) {
  std::string text;
  int rank = 0;
  for (const ClassScore& score : prediction.top)
    text += fmt::format("{},{},{},{},{:.6g},\n", field(path), ++rank, score.index, field(score.label),
                        score.probability);
  return text;
}

std::string answer_error_csv(const std::string& path, const std::string& error) {
  return fmt::format("{},,,,,{}\n", field(path), field(error));
}

std::string answer_json(const std::string& path, const LoadedModel& loaded, const Prediction& prediction,
                        const AnswerTimes& times) {
  const char* what = loaded.answer == LoadedModel::Answer::values ? "value" : "probability";
  const char* activation = loaded.answer == LoadedModel::Answer::values       ? "none"
                           : loaded.answer == LoadedModel::Answer::each_class ? "sigmoid"
                                                                              : "softmax";
  std::vector<std::string> scores;
  for (const ClassScore& score : prediction.top)
    scores.push_back(fmt::format("{{\"index\":{},\"label\":{},\"{}\":{:.6g}}}", score.index,
                                 json_string(score.label), what, score.probability));
  return fmt::format(
      "{{\"picture\":{},{},\"activation\":\"{}\",\"top\":[{}],\"load_ms\":{:.3f},\"preprocess_ms\":{:.3f},"
      "\"inference_ms\":{:.3f}}}\n",
      json_string(path), loaded_json(loaded), activation, fmt::join(scores, ","), times.load,
      times.preprocess, times.inference);
}

std::string answer_error_json(const std::string& path, const std::string& error) {
  return fmt::format("{{\"picture\":{},\"error\":{}}}\n", json_string(path), json_string(error));
}

}  // namespace locant::cli
