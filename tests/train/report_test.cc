#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/sha256.h"
#include "io/canvas.h"
#include "io/paint_chart.h"
#include "train/class_match.h"
#include "train/run_report.h"

namespace locant {
namespace report_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Rows of a CSV file (RFC 4180).
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      rows.back().back() += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && c == ',') {
      rows.back().emplace_back();
    } else if (!quoted && c == '\n') {
      rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  rows.pop_back();
  return rows;
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Logits of 4 for the prediction and 0 elsewhere.
EvaluatedPart part_of(const std::vector<std::int64_t>& labels, const std::vector<std::int64_t>& predictions,
                      std::int64_t classes) {
  EvaluatedPart part;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    Tensor logits = Tensor::zeros({1, classes});
    logits[predictions[i]] = 4.0f;
    part.evaluation.add(logits, {labels[i]});
    part.paths.push_back("pictures/" + std::to_string(i) + ".png");
  }
  part.evaluation.measure();
  return part;
}

class ReportFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() /
            fmt::format("locant_report_{}_{}", ::getpid(),
                        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path make(const std::string& name, const std::string& text = "") {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << text;
    return root_ / name;
  }
  fs::path root_;
};

const std::vector<std::string> kHostile = {"a,b", "say \"no\"", "two\nlines"};

TEST(Report, CsvQuotesNames) {
  EvaluatedPart part = part_of({0, 1, 1, 2}, {0, 1, 2, 2}, 3);
  part.paths[3] = "x,\"y\"\n.png";
  const auto matrix = parse_csv(confusion_csv(part, kHostile));
  ASSERT_EQ(matrix.size(), 4U);
  EXPECT_EQ(matrix[0], (std::vector<std::string>{"label", kHostile[0], kHostile[1], kHostile[2]}));
  EXPECT_EQ(matrix[1], (std::vector<std::string>{kHostile[0], "1", "0", "0"}));
  EXPECT_EQ(matrix[2], (std::vector<std::string>{kHostile[1], "0", "1", "1"}));
  EXPECT_EQ(matrix[3], (std::vector<std::string>{kHostile[2], "0", "0", "1"}));

  const auto classes = parse_csv(per_class_csv(part, kHostile));
  ASSERT_EQ(classes.size(), 4U);
  EXPECT_EQ(classes[1], (std::vector<std::string>{kHostile[1], "2", "1", "1", "1", "0.5", "0.666667"}));
  EXPECT_EQ(classes[2], (std::vector<std::string>{kHostile[2], "1", "2", "1", "0.5", "1", "0.666667"}));
  EXPECT_EQ(classes[3], (std::vector<std::string>{kHostile[0], "1", "1", "1", "1", "1", "1"}));

  const auto predictions = parse_csv(predictions_csv(part, kHostile, 1.0));
  ASSERT_EQ(predictions.size(), 5U);
  EXPECT_EQ(predictions[0],
            (std::vector<std::string>{"path", "label", "predicted", "probability", "top1", "probability1",
                                      "top2", "probability2", "top3", "probability3"}));
  EXPECT_EQ(predictions[4][0], part.paths[3]);
  EXPECT_EQ(predictions[3][1], kHostile[1]);
  EXPECT_EQ(predictions[3][2], kHostile[2]);
  EXPECT_NEAR(std::stod(predictions[3][3]), std::exp(4.0) / (std::exp(4.0) + 2.0), 1e-6);
  EXPECT_EQ(predictions[3][6], kHostile[0]);  // equal ones by index
  const auto cooler = parse_csv(predictions_csv(part, kHostile, 2.0));
  EXPECT_NEAR(std::stod(cooler[3][3]), std::exp(2.0) / (std::exp(2.0) + 2.0), 1e-6);
}

TEST(Report, NumbersStandForClassesWithoutNames) {
  const auto matrix = parse_csv(confusion_csv(part_of({0, 1}, {1, 1}, 2), {}));
  EXPECT_EQ(matrix[0], (std::vector<std::string>{"label", "0", "1"}));
}

TEST(Report, ManyClassesStaySmall) {
  std::vector<std::int64_t> labels, predictions;
  for (std::int64_t i = 0; i < 3000; ++i) {
    labels.push_back(i % 1000);
    predictions.push_back(i % 7 == 0 ? (i * 13) % 1000 : i % 1000);
  }
  const EvaluatedPart part = part_of(labels, predictions, 1000);
  const Image image = confusion_picture(part, {}, "title");
  EXPECT_LE(image.rows, 2000);
  EXPECT_LE(image.columns, 2000);
  EXPECT_GE(image.rows, 500);  // 50 classes of 1,000, each with its name
  const auto matrix = parse_csv(confusion_csv(part, {}));
  ASSERT_EQ(matrix.size(), 1001U);
  std::int64_t all = 0;
  for (std::size_t row = 1; row < matrix.size(); ++row) {
    ASSERT_EQ(matrix[row].size(), 1001U);
    for (std::size_t c = 1; c < matrix[row].size(); ++c) all += std::stoll(matrix[row][c]);
  }
  EXPECT_EQ(all, 3000);

  const auto pairs = parse_csv(confusion_csv(part_of({0, 2500, 2500}, {1, 2500, 2500}, 3000), {}));
  ASSERT_EQ(pairs.size(), 3U);
  EXPECT_EQ(pairs[0], (std::vector<std::string>{"label", "predicted", "pictures"}));
  EXPECT_EQ(pairs[2], (std::vector<std::string>{"2500", "2500", "2"}));

  for (const std::int64_t classes : {1, 2, 200, 201}) {
    std::vector<std::int64_t> each(static_cast<std::size_t>(classes));
    for (std::int64_t c = 0; c < classes; ++c) each[static_cast<std::size_t>(c)] = c;
    const std::vector<std::string> names(each.size(), std::string(300, 'w'));
    const Image all_right = confusion_picture(part_of(each, each, classes), names, std::string(500, 't'));
    EXPECT_LE(all_right.rows, 2000) << classes;
    EXPECT_LE(all_right.columns, 2000) << classes;
  }
}

TEST(Report, SheetHasTheWrongPicturesMostConfidentFirst) {
  EvaluatedPart part = part_of({0, 1, 1, 0}, {1, 1, 0, 1}, 2);
  part.evaluation.logits = {0, 1, 0, 9, 5, 0, 0, 3};  // wrong with margins 1, -, 5, 3
  std::vector<std::int64_t> asked;
  part.picture = [&asked](std::int64_t row) {
    asked.push_back(row);
    if (row == 3) fail("test", "gone");
    return blank_image(10, 10, {static_cast<std::uint8_t>(row == 0 ? 255 : 0), 0, 0});
  };
  const Image sheet = wrong_picture_sheet(part, {"no", "yes"}, 1.0, "title");
  EXPECT_EQ(asked, (std::vector<std::int64_t>{2, 3, 0}));
  // Three squares, black, grey, red, from left to right.
  std::vector<std::array<int, 3>> seen;
  const std::int64_t row = 53 + 96;
  for (std::int64_t x = 0; x < sheet.columns; ++x) {
    const std::uint8_t* at = sheet.rgb.data() + (row * sheet.columns + x) * 3;
    const std::array<int, 3> colour = {at[0], at[1], at[2]};
    if (seen.empty() || seen.back() != colour) seen.push_back(colour);
  }
  std::erase_if(seen, [](const auto& colour) { return colour[1] >= 240; });  // paper
  EXPECT_EQ(seen, (std::vector<std::array<int, 3>>{{0, 0, 0}, {128, 128, 128}, {255, 0, 0}}));

  part.evaluation.labels = {1, 1, 0, 1};
  EXPECT_GT(wrong_picture_sheet(part, {}, 1.0, "all right").rows, 0);
}

TEST_F(ReportFolder, WritesWhatItNamesAndExplainsItself) {
  RunReport report;
  report.title = "model, photos";
  report.command = {"locant", "train", "--data", "a b"};
  report.facts = R"({"options":{"lr":0.5}})";
  report.classes = {"cat", "dog"};
  report.epochs = {{{"epoch", 1}, {"loss", 2.0}, {"accuracy", 0.5}, {"lr", 1e-3}},
                   {{"epoch", 2}, {"loss", 1.0}, {"accuracy", 0.75}, {"val_accuracy", 0.7}, {"lr", 5e-4}}};
  report.parts.push_back(part_of({0, 1, 1}, {0, 1, 0}, 2));
  report.parts.push_back(part_of({0, 1}, {0, 1}, 2));
  report.parts[0].name = "val";
  report.parts[1].name = "test";
  report.parts[0].picture = [](std::int64_t) { return blank_image(4, 4); };
  const std::string one = make("1.png", "one").string(), none = make("none.png").string();
  report.split = {{"train", one, "cat", sha256_of_file(one)}, {"val", none, "dog", sha256_of_file(none)}};
  report.left_out = {{"broken\xFF.png", "damaged"}};
  report.calibration = Calibration{1.5, 10, 11, 0.5, 0.25, 0.125, 0.0625};

  const fs::path out = root_ / "out";
  fs::create_directories(out);
  const std::vector<std::string> files = write_run_report(out.string(), report);
  EXPECT_EQ(files, run_report_files(report));
  std::set<std::string> there, named(files.begin(), files.end());
  for (const auto& entry : fs::recursive_directory_iterator(out))
    if (entry.is_regular_file()) there.insert(fs::relative(entry.path(), out).generic_string());
  EXPECT_EQ(there, named);
  EXPECT_TRUE(named.contains("val/wrong.png") && !named.contains("test/wrong.png"));
  EXPECT_EQ(read_image((out / "curves.png").string()).columns, 960);

  const Json json = Json::parse(text_of(out / "report.json"));
  EXPECT_EQ(json["command"], Json(report.command));
  EXPECT_EQ(json["options"]["lr"], 0.5);
  for (const char* key : {"locant", "compiler", "instruction_set", "threads"})
    EXPECT_TRUE(json.contains(key));
  EXPECT_EQ(json["parts"]["val"]["pictures"], 3);
  EXPECT_NEAR(json["parts"]["val"]["top1"].get<double>(), 2.0 / 3.0, 1e-12);
  EXPECT_FALSE(json["parts"]["val"].contains("top5"));
  EXPECT_EQ(json["parts"]["test"]["top1"], 1.0);
  EXPECT_EQ(json["parts"]["val"]["classes"].size(), 2U);
  EXPECT_EQ(json["split"]["train"]["pictures"], 1);
  const std::string line = sha256_of_file(one) + "  " + one + "\n";
  EXPECT_EQ(json["split"]["train"]["sha256"],
            sha256_hex({reinterpret_cast<const std::uint8_t*>(line.data()), line.size()}));
  EXPECT_EQ(json["left_out"][0]["reason"], "damaged");
  EXPECT_EQ(json["calibration"]["temperature"], 1.5);
  const auto split = parse_csv(text_of(out / "split.csv"));
  ASSERT_EQ(split.size(), 3U);
  EXPECT_EQ(split[2],
            (std::vector<std::string>{
                "val", none, "dog",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}));  // of nothing
}

TEST_F(ReportFolder, EpochLinesAreThoseOfTheLog) {
  const fs::path log =
      make("train.log.jsonl",
           "{\"kind\":\"step\",\"epoch\":1,\"loss\":9}\n"
           "{\"kind\":\"epoch\",\"epoch\":1,\"loss\":2.5,\"note\":\"x\",\"val_accuracy\":0.5}\n"
           "broken\n{\"kind\":3}\n"
           "{\"kind\":\"epoch\",\"epoch\":2,\"loss\":null}\n");
  const std::vector<EpochLine> lines = read_epoch_lines(log.string());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], (EpochLine{{"epoch", 1.0}, {"loss", 2.5}, {"val_accuracy", 0.5}}));
  EXPECT_EQ(lines[1], (EpochLine{{"epoch", 2.0}}));
  EXPECT_THROW(read_epoch_lines((root_ / "nowhere").string()), Error);
  EXPECT_GT(curves_picture(lines, "title").rows, 0);
  EXPECT_GT(curves_picture({}, "title").rows, 0);
}

TEST_F(ReportFolder, SplitHashesFilesOrPlanes) {
  class Two final : public Dataset {
   public:
    explicit Two(std::string path) : path_(std::move(path)) { labels_ = {1, 0}; }
    void read(std::int64_t, std::uint8_t* planes) const override { std::fill_n(planes, 4, 7); }
    std::string path(std::int64_t i) const override { return i == 0 ? path_ : ""; }
    Image picture(std::int64_t) const override { return {}; }

   private:
    std::string path_;
  };
  Preprocess form;
  form.rows = form.columns = 2;
  form.channels = 1;
  const std::string file = make("a.png", "abc").string();
  const std::vector<SplitFile> files = split_files("train", Two(file), {"no", "yes"}, form);
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // of "abc"
  EXPECT_EQ(files[0].label, "yes");
  EXPECT_EQ(files[1].path, "#1");
  const std::vector<std::uint8_t> planes(4, 7);
  EXPECT_EQ(files[1].sha256, sha256_hex(planes));

  EvaluatedPart answers = part_of({1, 0}, {1, 1}, 2);
  const EvaluatedPart part = evaluated_part("val", answers.evaluation, std::make_shared<Two>(file), form);
  EXPECT_EQ(part.paths, (std::vector<std::string>{file, "#1"}));
  EXPECT_EQ(part.name, "val");
  EXPECT_EQ(part.picture(1).rgb, std::vector<std::uint8_t>(12, 7));
  answers.evaluation.add(Tensor::zeros({1, 2}), {0});
  EXPECT_THROW(evaluated_part("val", answers.evaluation, std::make_shared<Two>(file), form), Error);
}

TEST(Report, ImageOfPlanes) {
  Preprocess form;
  form.rows = 1;
  form.columns = 2;
  form.channels = 3;
  EXPECT_EQ(image_of_planes({1, 2, 3, 4, 5, 6}, form).rgb, (std::vector<std::uint8_t>{1, 3, 5, 2, 4, 6}));
  form.channels = 1;
  EXPECT_EQ(image_of_planes({1, 2}, form).rgb, (std::vector<std::uint8_t>{1, 1, 1, 2, 2, 2}));
  EXPECT_THROW(image_of_planes({1, 2, 3}, form), Error);
  form.channels = 2;
  EXPECT_THROW(image_of_planes({1, 2, 3, 4}, form), Error);
}

using Indices = std::vector<std::int64_t>;

TEST(ClassMatch, ByNameThenSynsetThenNumber) {
  const ClassMatch named = match_classes({"b", "a"}, {"a", "b", "c"}, 3);
  EXPECT_EQ(named.index, (Indices{1, 0}));
  EXPECT_EQ(named.by, ClassMatch::By::name);
  const ClassMatch synsets = match_classes({"n01440764", "n01443537", "n15075141"}, {}, 1000);
  EXPECT_EQ(synsets.index, (Indices{0, 1, 999}));
  EXPECT_EQ(synsets.by, ClassMatch::By::synset);
  const ClassMatch numbers = match_classes({"10", "2"}, {}, 11);
  EXPECT_EQ(numbers.index, (Indices{10, 2}));
  EXPECT_EQ(numbers.by, ClassMatch::By::number);
  // Digits that are names are names.
  EXPECT_EQ(match_classes({"1", "2"}, {"2", "1"}, 2).index, (Indices{1, 0}));
  EXPECT_EQ(match_classes({"0", "1"}, {"shirt", "shoe"}, 2, true).index, (Indices{0, 1}));
}

TEST(ClassMatch, SaysWhatDoesNotMatch) {
  const auto says = [](const std::vector<std::string>& folders, const std::vector<std::string>& names,
                       std::int64_t classes, bool numbers, const std::string& text) {
    const std::string error = error_of([&] { match_classes(folders, names, classes, numbers); });
    EXPECT_NE(error.find(text), std::string::npos) << error;
  };
  says({"cat", "dgo"}, {"cat", "dog"}, 2, false, "1 of 2 class folders");
  says({"cat", "dgo"}, {"cat", "dog"}, 2, false, "\"dgo\" (nearest: \"dog\")");
  says({"cat", "dgo"}, {"cat", "dog"}, 2, false, "--labels FILE");
  says({"0", "7"}, {}, 5, false, "1 of 2 class folders are no class of the checkpoint, which numbers its 5");
  says({"0", "1"}, {"shirt", "shoe"}, 2, false, "2 of 2");  // named classes have no numbers
  says({"0", "1", "2"}, {"shirt", "shoe"}, 2, true, "labels up to 2, the checkpoint has 2 classes");
  says({"crane"}, {"crane", "crane"}, 2, false, "two classes of the checkpoint are called \"crane\"");
  says({"-1"}, {}, 5, false, "\"-1\"");
  says({"1x"}, {}, 5, false, "\"1x\"");
  says({"n01440764", "n00000001"}, {}, 1000, false,
       "1 of 2 class folders are none of ImageNet's 1,000 synsets");
  says(std::vector<std::string>(12, "x"), {"a", "b"}, 2, false, " and 2 more; ");
}

TEST_F(ReportFolder, PlaceIsTheFirstSplitThatIsThere) {
  const auto found = [this](const std::string& split = "") {
    return find_evaluation_place(root_.string(), split);
  };
  make("cat/1.png");
  EXPECT_EQ(found().folder, root_.string());
  EXPECT_EQ(found().split, "");
  make("test/1.png");  // a class called test
  EXPECT_EQ(found().split, "");
  make("train/cat/1.png");
  EXPECT_NE(error_of([&] { found(); }).find("--split train"), std::string::npos);
  EXPECT_EQ(found("train").folder, (root_ / "train").string());
  make("valid/cat/1.png");
  EXPECT_EQ(found().split, "valid");
  make("val/cat/1.png");
  EXPECT_EQ(found().split, "val");
  make("test/cat/1.png");
  EXPECT_EQ(found().split, "test");
  EXPECT_EQ(found("val").folder, (root_ / "val").string());
  EXPECT_NE(error_of([&] { found("holdout"); }).find("splits in it: test, val, valid, train"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { find_evaluation_place((root_ / "nowhere").string(), ""); }).find("is not a folder"),
      std::string::npos);

  const EvaluationPlace idx = find_evaluation_place(LOCANT_TEST_DATA "/digits500", "");
  EXPECT_EQ(idx.idx, "t10k");
  EXPECT_EQ(idx.split, "test");
  EXPECT_EQ(find_evaluation_place(LOCANT_TEST_DATA "/digits500", "train").idx, "train");
  EXPECT_THROW(find_evaluation_place(LOCANT_TEST_DATA "/digits500", "val"), Error);
}

}  // namespace report_test
}  // namespace locant
