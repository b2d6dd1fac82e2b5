#include "train/run_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "core/version.h"
#include "io/atomic_file.h"
#include "io/contact_sheet.h"
#include "io/csv_text.h"
#include "io/mapped_file.h"
#include "io/paint_chart.h"
#include "simd/isa.h"
#include "train/confusion.h"

namespace locant {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr std::int64_t kTopClasses = 5;
constexpr std::int64_t kMostMatrixClasses = 2000;  // of confusion.csv as a matrix
constexpr std::int64_t kMostDrawnClasses = 200, kDrawnOfMany = 50;
constexpr std::int64_t kMostWrongPictures = 80;

/// A number, or null where it is none.
OrderedJson json_number(double value) { return std::isfinite(value) ? OrderedJson(value) : OrderedJson(); }

/// "0.9375"; nothing for no number.
std::string csv_figure(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : ""; }

Confusion confusion_in(const Evaluation& evaluation) {
  return count_confusion(evaluation.labels, evaluation.predictions(), evaluation.classes());
}

OrderedJson part_json(const EvaluatedPart& part, const RunReport& report) {
  const Evaluation& e = part.evaluation;
  OrderedJson out{{"pictures", e.size()}, {"top1", json_number(e.accuracy)}};
  if (e.classes() > kTopClasses) out["top5"] = json_number(e.top5);
  out["temperature"] = report.temperature;
  out["loss"] = OrderedJson();
  if (e.size() > 0) {
    out["loss"] = json_number(mean_nll(e.data(), report.temperature));
    out["ece"] = json_number(calibration_error(e.data(), report.temperature));
  }
  OrderedJson& classes = out["classes"] = OrderedJson::array();
  for (const ClassResult& r : worst_first(class_results(confusion_in(e))))
    classes.push_back({{"index", r.index},
                       {"class", class_name(report.classes, r.index)},
                       {"pictures", r.pictures},
                       {"predicted", r.predicted},
                       {"right", r.right},
                       {"precision", json_number(r.precision)},
                       {"recall", json_number(r.recall)},
                       {"f1", json_number(r.f1)}});
  return out;
}

OrderedJson split_json(const std::vector<SplitFile>& split) {
  std::map<std::string, std::vector<SplitFile>> sides;
  for (const SplitFile& file : split) sides[file.side].push_back(file);
  OrderedJson out;
  for (const auto& [side, files] : sides)
    out[side] = {{"pictures", files.size()}, {"sha256", pictures_digest(files)}};
  return out;
}

std::string part_file(const EvaluatedPart& part, const std::string& name) {
  return part.name.empty() ? name : part.name + "/" + name;
}

std::string part_title(const EvaluatedPart& part, const std::string& title) {
  return part.name.empty() ? title : title + ", " + part.name;
}

void write_report_text(const fs::path& path, const std::string& text) {
  write_file_atomically(path.string(), std::as_bytes(std::span(text)));
}

/// Rows of wrong answers, most confident first.
std::vector<std::pair<double, std::int64_t>> wrong_rows(const Evaluation& e,
                                                        const std::vector<std::int64_t>& predictions,
                                                        double temperature) {
  std::vector<std::pair<double, std::int64_t>> wrong;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (predictions[at] != e.labels[at])
      wrong.emplace_back(class_probability(e.data().row(i), predictions[at], temperature), i);
  }
  std::stable_sort(wrong.begin(), wrong.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  return wrong;
}

std::string path_of(const Dataset& data, std::int64_t index) {
  const std::string path = data.path(index);
  return path.empty() ? fmt::format("#{}", index) : path;
}

Image grey_square() { return blank_image(1, 1, {128, 128, 128}); }

/// The keys of the lines that `wanted` picks, in alphabetical order, each over the epochs.
LineChart epochs_chart(const std::vector<EpochLine>& epochs, const std::string& title, bool percent,
                       const std::function<bool(const std::string&)>& wanted) {
  LineChart chart;
  chart.title = title;
  chart.x_title = "epoch";
  chart.percent = percent;
  std::map<std::string, ChartLine> lines;
  for (const EpochLine& epoch : epochs)
    for (const auto& [key, value] : epoch)
      if (wanted(key)) lines[key].name = key;
  for (auto& [key, line] : lines) {
    for (std::size_t i = 0; i < epochs.size(); ++i) {
      const auto number_of = epochs[i].find("epoch"), found = epochs[i].find(key);
      if (found == epochs[i].end()) continue;  // not every epoch is validated: its neighbours are joined
      line.x.push_back(number_of == epochs[i].end() ? static_cast<double>(i + 1) : number_of->second);
      line.y.push_back(found->second);
    }
    chart.lines.push_back(line);
  }
  return chart;
}

}  // namespace

std::string class_name(const std::vector<std::string>& classes, std::int64_t index) {
  const auto at = static_cast<std::size_t>(index);
  return at < classes.size() && !classes[at].empty() ? classes[at] : std::to_string(index);
}

std::vector<EpochLine> read_epoch_lines(const std::string& path) {
  std::ifstream file(path);
  require(file.is_open(), ErrorKind::system, "report", "cannot read {}", path);
  std::vector<EpochLine> out;
  for (std::string text; std::getline(file, text);) {
    const OrderedJson json = OrderedJson::parse(text, nullptr, false);
    if (!json.is_object() || json.value("kind", OrderedJson()) != "epoch") continue;
    EpochLine line;
    for (const auto& [key, value] : json.items())
      if (value.is_number()) line[key] = value.get<double>();
    out.push_back(std::move(line));
  }
  return out;
}

std::string sha256_of_file(const std::string& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) == 0 && !error) return sha256_hex({});
  const auto file = MappedFile::open(path);
  return sha256_hex({reinterpret_cast<const std::uint8_t*>(file->bytes().data()), file->bytes().size()});
}

std::vector<SplitFile> split_files(const std::string& side, const Dataset& data,
                                   const std::vector<std::string>& classes, const Preprocess& form) {
  std::vector<SplitFile> out(static_cast<std::size_t>(data.size()));
  parallel_for(data.size(), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> planes(static_cast<std::size_t>(form.channels * form.rows * form.columns));
    for (std::int64_t i = begin; i < end; ++i) {
      SplitFile& file = out[static_cast<std::size_t>(i)];
      file = {side, path_of(data, i), class_name(classes, data.label(i)), ""};
      if (const std::string path = data.path(i); !path.empty()) {
        file.sha256 = sha256_of_file(path);
        continue;
      }
      data.read(i, planes.data());
      file.sha256 = sha256_hex(planes);
    }
  });
  return out;
}

std::string pictures_digest(const std::vector<SplitFile>& files) {
  std::vector<std::string> lines;
  for (const SplitFile& file : files) lines.push_back(file.sha256 + "  " + file.path + "\n");
  std::sort(lines.begin(), lines.end());
  const std::string all = fmt::format("{}", fmt::join(lines, ""));
  return sha256_hex({reinterpret_cast<const std::uint8_t*>(all.data()), all.size()});
}

Image image_of_planes(const std::vector<std::uint8_t>& planes, const Preprocess& form) {
  const std::int64_t size = form.rows * form.columns;
  require((form.channels == 1 || form.channels == 3) &&
              static_cast<std::int64_t>(planes.size()) == form.channels * size,
          "report", "{} bytes as a picture of {} x {} pixels and {} channels; 1 or 3 were expected",
          planes.size(), form.columns, form.rows, form.channels);
  Image out = blank_image(form.rows, form.columns);
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t c = 0; c < 3; ++c)
      out.rgb[static_cast<std::size_t>(3 * i + c)] =
          planes[static_cast<std::size_t>((form.channels == 1 ? 0 : c) * size + i)];
  return out;
}

EvaluatedPart evaluated_part(const std::string& name, Evaluation evaluation,
                             std::shared_ptr<const Dataset> data, const Preprocess& form) {
  require(evaluation.size() == data->size(), "report", "answers for {} pictures of {}", evaluation.size(),
          data->size());
  EvaluatedPart part{name, std::move(evaluation), {}};
  for (std::int64_t i = 0; i < data->size(); ++i) part.paths.push_back(path_of(*data, i));
  part.picture = [data = std::move(data), form](std::int64_t row) {
    std::vector<std::uint8_t> planes(static_cast<std::size_t>(form.channels * form.rows * form.columns));
    data->read(row, planes.data());
    return image_of_planes(planes, form);
  };
  return part;
}

std::string run_report_json(const RunReport& report, int indent) {
  OrderedJson out{{"command", report.command},
                  {"locant", version()},
                  {"compiler", __VERSION__},
                  {"instruction_set", isa_name(active_isa())},
                  {"threads", num_threads()}};
  const OrderedJson facts = OrderedJson::parse(report.facts, nullptr, false);
  require(facts.is_object(), "report", "the facts are no JSON object: {}", report.facts.substr(0, 80));
  for (const auto& [key, value] : facts.items()) out[key] = value;
  if (!report.split.empty()) out["split"] = split_json(report.split);
  if (!report.epochs.empty()) out["epochs"] = report.epochs.size();
  for (const EvaluatedPart& part : report.parts) {
    OrderedJson json = part_json(part, report);
    if (part.name.empty())
      out.update(json);
    else
      out["parts"][part.name] = std::move(json);
  }
  if (const auto& c = report.calibration)
    out["calibration"] = {
        {"temperature", c->temperature},          {"fitted_on", c->fitted_on},
        {"measured_on", c->measured_on},          {"nll_before", json_number(c->nll_before)},
        {"nll_after", json_number(c->nll_after)}, {"ece_before", json_number(c->ece_before)},
        {"ece_after", json_number(c->ece_after)}};
  OrderedJson& left_out = out["left_out"] = OrderedJson::array();
  for (const SkippedPicture& picture : report.left_out)
    left_out.push_back({{"picture", picture.path}, {"reason", picture.reason}});
  return out.dump(indent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string confusion_csv(const EvaluatedPart& part, const std::vector<std::string>& classes) {
  const Confusion confusion = confusion_in(part.evaluation);
  std::string out;
  if (confusion.classes > kMostMatrixClasses) {
    out = "label,predicted,pictures\n";
    for (const auto& [pair, times] : confusion.counts)
      out += fmt::format("{},{},{}\n", csv_field(class_name(classes, pair.first)),
                         csv_field(class_name(classes, pair.second)), times);
    return out;
  }
  out = "label";
  for (std::int64_t c = 0; c < confusion.classes; ++c)
    out += fmt::format(",{}", csv_field(class_name(classes, c)));
  out += "\n";
  for (std::int64_t label = 0; label < confusion.classes; ++label) {
    out += csv_field(class_name(classes, label));
    for (std::int64_t c = 0; c < confusion.classes; ++c) out += fmt::format(",{}", confusion.at(label, c));
    out += "\n";
  }
  return out;
}

std::string per_class_csv(const EvaluatedPart& part, const std::vector<std::string>& classes) {
  std::string out = "class,pictures,predicted,right,precision,recall,f1\n";
  for (const ClassResult& r : worst_first(class_results(confusion_in(part.evaluation))))
    out += fmt::format("{},{},{},{},{},{},{}\n", csv_field(class_name(classes, r.index)), r.pictures,
                       r.predicted, r.right, csv_figure(r.precision), csv_figure(r.recall), csv_figure(r.f1));
  return out;
}

std::string predictions_csv(const EvaluatedPart& part, const std::vector<std::string>& classes,
                            double temperature) {
  const Evaluation& e = part.evaluation;
  const std::int64_t top = std::min(kTopClasses, e.classes());
  std::string out = "path,label,predicted,probability";
  for (std::int64_t k = 1; k <= top; ++k) out += fmt::format(",top{},probability{}", k, k);
  out += "\n";
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::vector<std::int64_t> best = top_classes(e.data().row(i), top);
    const std::vector<double> probabilities = class_probabilities(e.data().row(i), temperature);
    const auto named = [&](std::int64_t c) {
      return fmt::format(",{},{:.6g}", csv_field(class_name(classes, c)),
                         probabilities[static_cast<std::size_t>(c)]);
    };
    out +=
        csv_field(part.paths[at]) + "," + csv_field(class_name(classes, e.labels[at])) + named(best.front());
    for (const std::int64_t c : best) out += named(c);
    out += "\n";
  }
  return out;
}

std::string split_csv(const std::vector<SplitFile>& split) {
  std::string out = "side,path,label,sha256\n";
  for (const SplitFile& file : split)
    out += fmt::format("{},{},{},{}\n", csv_field(file.side), csv_field(file.path), csv_field(file.label),
                       file.sha256);
  return out;
}

Image curves_picture(const std::vector<EpochLine>& epochs, const std::string& title) {
  const auto ends = [](const std::string& end) {
    return [end](const std::string& key) { return key.ends_with(end); };
  };
  const auto is_rate = [](const std::string& key) { return key == "lr" || key.starts_with("lr_"); };
  constexpr std::int64_t kGapBetweenCharts = 8;
  return paint_below({paint_lines(epochs_chart(epochs, title + ": loss", false, ends("loss"))),
                      paint_lines(epochs_chart(epochs, "accuracy", true,
                                               [](const std::string& key) {
                                                 return key.ends_with("accuracy") || key.ends_with("top5");
                                               })),
                      paint_lines(epochs_chart(epochs, "learning rate", false, is_rate))},
                     kGapBetweenCharts);
}

Image confusion_picture(const EvaluatedPart& part, const std::vector<std::string>& classes,
                        const std::string& title) {
  const Confusion confusion = confusion_in(part.evaluation);
  std::vector<std::int64_t> drawn;
  for (std::int64_t c = 0; c < confusion.classes; ++c)
    if (confusion.pictures[static_cast<std::size_t>(c)] + confusion.predicted[static_cast<std::size_t>(c)] >
        0)
      drawn.push_back(c);
  const std::size_t seen = drawn.size();
  std::string part_said;
  if (static_cast<std::int64_t>(seen) > kMostDrawnClasses) {
    std::vector<std::int64_t> confused = most_confused(confusion, kDrawnOfMany);
    part_said = confused.empty() ? fmt::format("{} of {} classes, none is confused", kDrawnOfMany, seen)
                                 : fmt::format("the {} most confused of {} classes", confused.size(), seen);
    if (confused.empty()) confused.assign(drawn.begin(), drawn.begin() + kDrawnOfMany);
    drawn = std::move(confused);
  }
  if (drawn.empty()) return blank_image(1, 1);
  MatrixChart chart;
  chart.heading = {title, fmt::format("{:.2f} % of {} pictures right", part.evaluation.accuracy * 100.0,
                                      part.evaluation.size())};
  if (!part_said.empty()) chart.heading.push_back(part_said);
  chart.row_title = "label";
  chart.column_title = "predicted";
  for (const std::int64_t label : drawn) {
    const std::string name = class_name(classes, label);
    chart.row_names.push_back(name);
    chart.column_names.push_back(name);
    const auto pictures = static_cast<float>(confusion.pictures[static_cast<std::size_t>(label)]);
    for (const std::int64_t predicted : drawn) {  // by the root: a few mistakes among many pictures show
      const std::int64_t times = confusion.at(label, predicted);
      chart.numbers.push_back(times);
      chart.shares.push_back(pictures > 0.0f ? std::sqrt(static_cast<float>(times) / pictures) : 0.0f);
    }
  }
  return paint_matrix_chart(chart);
}

Image wrong_picture_sheet(const EvaluatedPart& part, const std::vector<std::string>& classes,
                          double temperature, const std::string& title) {
  const std::vector<std::int64_t> predictions = part.evaluation.predictions();
  auto wrong = wrong_rows(part.evaluation, predictions, temperature);
  const std::size_t all = wrong.size(), shown = std::min<std::size_t>(all, kMostWrongPictures);
  wrong.resize(shown);
  ContactSheet sheet;
  sheet.title = fmt::format("{}: {} of {} wrong", title, all, part.evaluation.size());
  if (shown < all) sheet.title += fmt::format(", {} most confident", shown);
  sheet.subtitle = "first the label (green), then the answer (red) and its probability";
  for (const auto& [probability, row] : wrong) {
    const auto at = static_cast<std::size_t>(row);
    SheetPicture picture;
    try {
      picture.image = fit_into(part.picture(row), sheet.side);
    } catch (const Error&) {  // gone since it was evaluated
      picture.image = grey_square();
    }
    picture.lines = {
        {class_name(classes, part.evaluation.labels[at]), {20, 120, 50}, 2},
        {class_name(classes, predictions[at]), {190, 30, 40}, 2},
        {fmt::format("{:.1f} %  {}", probability * 100.0, fs::path(part.paths[at]).filename().string())}};
    sheet.pictures.push_back(std::move(picture));
  }
  return paint_contact_sheet(sheet);
}

std::vector<std::string> run_report_files(const RunReport& report) {
  std::vector<std::string> out;
  if (!report.epochs.empty()) out.push_back("curves.png");
  if (!report.split.empty()) out.push_back("split.csv");
  for (const EvaluatedPart& part : report.parts) {
    for (const char* name : {"confusion.csv", "confusion.png", "per_class.csv", "predictions.csv"})
      out.push_back(part_file(part, name));
    if (part.picture) out.push_back(part_file(part, "wrong.png"));
  }
  out.push_back("report.json");
  return out;
}

std::vector<std::string> write_run_report(const std::string& folder, const RunReport& report) {
  const fs::path root(folder);
  if (!report.epochs.empty())
    write_png((root / "curves.png").string(), curves_picture(report.epochs, report.title));
  if (!report.split.empty()) write_report_text(root / "split.csv", split_csv(report.split));
  for (const EvaluatedPart& part : report.parts) {
    require(static_cast<std::int64_t>(part.paths.size()) == part.evaluation.size(), "report",
            "{} paths for {} pictures", part.paths.size(), part.evaluation.size());
    std::error_code error;
    fs::create_directories(root / part.name, error);
    require(fs::is_directory(root / part.name), ErrorKind::system, "report", "cannot make the folder {}: {}",
            (root / part.name).string(), error.message());
    const std::string title = part_title(part, report.title);
    const auto path = [&](const char* name) { return root / part_file(part, name); };
    write_report_text(path("confusion.csv"), confusion_csv(part, report.classes));
    write_png(path("confusion.png").string(), confusion_picture(part, report.classes, title));
    write_report_text(path("per_class.csv"), per_class_csv(part, report.classes));
    write_report_text(path("predictions.csv"), predictions_csv(part, report.classes, report.temperature));
    if (part.picture)
      write_png(path("wrong.png").string(),
                wrong_picture_sheet(part, report.classes, report.temperature, title));
  }
  write_report_text(root / "report.json", run_report_json(report));
  return run_report_files(report);
}

}  // namespace locant
