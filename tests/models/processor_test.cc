// Goldens: tests/data/hub/processors, by scripts/goldens/make_processor_fixtures.py.
#include "models/processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/sha256.h"

namespace locant {
namespace processor_test {

using Json = nlohmann::json;
using Mode = Preprocess::Mode;
using CropOrigin = Preprocess::CropOrigin;

constexpr const char* kFiles[] = {"vit",  "deit",  "beit",     "pvt",   "bit",
                                  "clip", "levit", "convnext", "clips", "timm"};

Json cases_of(const std::string& name) {
  return Json::parse(std::ifstream(LOCANT_TEST_DATA "/hub/processors/" + name + ".json"))["cases"];
}

ProcessorResult read(const Json& golden) {
  Preprocess base;
  base.channels = golden["channels"];
  base.mean.resize(static_cast<std::size_t>(base.channels));
  base.std.resize(static_cast<std::size_t>(base.channels));
  const std::string text = golden["file"].dump();
  if (golden.contains("timm")) return processor_from_timm(text, base);
  return processor_from_json(text, golden["model_type"], base);
}

/// The formula of the script's pictures; each is made once.
const Image& picture(std::int64_t columns, std::int64_t rows) {
  static std::map<std::pair<std::int64_t, std::int64_t>, Image> made;
  Image& image = made[{columns, rows}];
  if (image.rows > 0) return image;
  image = {rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * rows * columns))};
  std::uint8_t* byte = image.rgb.data();
  for (std::uint32_t y = 0; y < rows; ++y) {
    for (std::uint32_t x = 0; x < columns; ++x) {
      for (std::uint32_t c = 0; c < 3; ++c) {
        std::uint32_t mixed = (x * 73856093u) ^ (y * 19349663u) ^ (c * 83492791u);
        mixed = (mixed ^ (mixed >> 15)) * 2654435761u;
        *byte++ = static_cast<std::uint8_t>(mixed >> 24);
      }
    }
  }
  return image;
}

/// The bytes that were normalised: all of them, where the file has 32 numbers.
std::string hash_of_bytes(const Tensor& input, const Preprocess& options) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(input.numel()));
  const std::int64_t plane = options.rows * options.columns;
  for (std::int64_t i = 0; i < input.numel(); ++i) {
    const auto c = static_cast<std::size_t>(i / plane);
    const double unit = static_cast<double>(input[i]) * static_cast<double>(options.std[c]) +
                        static_cast<double>(options.mean[c]) + options.offset;
    bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(std::lround(unit / options.rescale));
  }
  return sha256_hex(bytes).substr(0, 16);
}

/// Largest difference, of numbers above 1 relative.
double worst_of(const Tensor& input, const Json& expected) {
  double worst = 0.0, sum = 0.0, squares = 0.0;
  const auto count = static_cast<std::uint64_t>(input.numel());
  for (std::uint64_t k = 0; k < 32; ++k) {
    const double x = expected["samples"][k];
    const auto place = static_cast<std::int64_t>(k * 2654435761u % count);
    worst = std::max(worst, std::abs(static_cast<double>(input[place]) - x) / std::max(1.0, std::abs(x)));
  }
  for (const float x : input.values()) {
    sum += static_cast<double>(x);
    squares += static_cast<double>(x) * static_cast<double>(x);
  }
  const double numbers = static_cast<double>(count),
               mean_square = expected["squares"].get<double>() / numbers;
  const double scale = std::max(1.0, std::sqrt(mean_square));
  worst = std::max(worst, std::abs(sum - expected["sum"].get<double>()) / numbers / scale);
  return std::max(worst, std::abs(squares / numbers - mean_square) / scale / scale);
}

TEST(Processor, PicturesAsTheLibrariesPrepareThem) {
  double largest = 0.0;
  std::int64_t pictures = 0;
  for (const char* name : kFiles) {
    for (const Json& golden : cases_of(name)) {
      const Preprocess options = read(golden).preprocess;
      for (const Json& expected : golden["pictures"]) {
        const std::string where =
            fmt::format("{}: {}, {} x {}: {}", name, golden["name"].get<std::string>(),
                        expected["columns"].get<int>(), expected["rows"].get<int>(), options.to_json());
        const Image& image = picture(expected["columns"], expected["rows"]);
        const Tensor input = preprocess(image, options);
        const auto sides = expected["shape"].get<std::vector<std::int64_t>>();
        ASSERT_EQ(input.shape(), (Shape{sides[0], sides[1], sides[2]})) << where;
        EXPECT_EQ(hash_of_bytes(input, options), expected["bytes"]) << where;
        const double worst = worst_of(input, expected);
        EXPECT_LE(worst, 2e-6) << where;
        largest = std::max(largest, worst);
        ++pictures;
      }
    }
  }
  EXPECT_GE(pictures, 200);
  RecordProperty("largest", fmt::format("{:.1e}", largest));
}

TEST(Processor, NoteOnlyWhereThereIsSomethingToSay) {
  for (const char* name : kFiles)
    for (const Json& golden : cases_of(name))
      EXPECT_TRUE(read(golden).notes.empty())
          << name << ": " << golden["name"] << ": " << read(golden).notes[0];
}

/// What a file of these keys means for a model type; `base` as it is by default.
Preprocess parsed(const std::string& text, const std::string& model_type = "vit") {
  return processor_from_json(text, model_type, {}).preprocess;
}

TEST(Processor, WritesWhatItReads) {
  for (const char* name : kFiles) {
    for (const Json& golden : cases_of(name)) {
      // A ViTImageProcessor that crops is read, and written for none.
      if (golden["file"].value("do_center_crop", false) && std::string(name) == "vit") continue;
      const Preprocess options = read(golden).preprocess;
      const std::string where = fmt::format("{}: {}", name, golden["name"].get<std::string>());
      const bool timm = golden.contains("timm");
      std::string text;
      ASSERT_NO_THROW(text = timm ? processor_to_timm(options) : processor_to_json(options, golden["class"]))
          << where;
      const Preprocess again = timm ? processor_from_timm(text, options).preprocess
                                    : processor_from_json(text, "", options).preprocess;
      const Json& expected = golden["pictures"][0];
      const Image& image = picture(expected["columns"], expected["rows"]);
      const Tensor one = preprocess(image, options), other = preprocess(image, again);
      EXPECT_TRUE(
          std::equal(one.values().begin(), one.values().end(), other.values().begin(), other.values().end()))
          << where << text;
    }
  }
}

TEST(Processor, EveryKeyIsWritten) {
  const Json text = Json::parse(processor_to_json(parsed("{}", "deit"), "DeiTImageProcessorPil"));
  EXPECT_EQ(text["image_processor_type"], "DeiTImageProcessor");
  EXPECT_EQ(text["size"], (Json{{"height", 256}, {"width", 256}}));
  EXPECT_EQ(text["crop_size"], (Json{{"height", 224}, {"width", 224}}));
  for (const char* key : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"})
    EXPECT_EQ(text[key], true) << key;
  EXPECT_EQ(text["resample"], 3);
  const Json timm = Json::parse(processor_to_timm(Preprocess{}));
  EXPECT_EQ(timm["input_size"], (Json{3, 224, 224}));
  EXPECT_EQ(timm["interpolation"], "bicubic");
  EXPECT_EQ(timm["crop_mode"], "center");
  EXPECT_EQ(timm["mean"], (Json{0.485, 0.456, 0.406}));
  EXPECT_EQ(timm["crop_pct"], 0.9);
  Preprocess given;
  given.crop_pct = 1.0;  // unused
  for (const auto& [side, crop_pct] :
       {std::pair{248, 0.9}, {256, 0.875}, {235, 0.95}, {224, 1.0}, {250, 0.896}}) {
    given.resize_to = side;
    EXPECT_EQ(Json::parse(processor_to_timm(given))["crop_pct"], crop_pct) << side;
  }
}

std::string refusal(const Preprocess& options, const std::string& type) {
  try {
    return "written: " + (type == "timm" ? processor_to_timm(options) : processor_to_json(options, type));
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Processor, RefusesToWriteWhatTheTargetCannotSay) {
  const Preprocess timms;  // short side 248, crop origin rounded
  EXPECT_NE(refusal(timms, "BitImageProcessor").find("cannot say crop_origin"), std::string::npos);
  Preprocess floors = timms;
  floors.crop_origin = CropOrigin::floor;
  EXPECT_NE(refusal(floors, "BitImageProcessor").find("written"), std::string::npos);
  EXPECT_NE(refusal(floors, "timm").find("cannot say crop_origin"), std::string::npos);
  EXPECT_NE(refusal(floors, "ViTImageProcessor").find("cannot say this resize"), std::string::npos);
  EXPECT_NE(refusal(floors, "SamImageProcessor").find("SamImageProcessor"), std::string::npos);
  EXPECT_NE(refusal(floors, "Nonsense").find("Nonsense"), std::string::npos);
  EXPECT_NE(refusal(floors, "ConvNextImageProcessor").find("written"), std::string::npos);
  Preprocess options = timms;
  options.mode = Mode::squash;
  EXPECT_NE(refusal(options, "ViTImageProcessor").find("written"), std::string::npos);
  EXPECT_NE(refusal(options, "ConvNextImageProcessor").find("cannot say mode"),
            std::string::npos);                        // below 384
  options.squash_rows = options.squash_columns = 256;  // 32 more: both origins are 16
  EXPECT_NE(refusal(options, "DeiTImageProcessor").find("written"), std::string::npos);
  EXPECT_NE(refusal(options, "timm").find("written"), std::string::npos);
  EXPECT_NE(refusal(options, "PvtImageProcessor").find("no crop"), std::string::npos);
  options.squash_columns = 227;
  EXPECT_NE(refusal(options, "DeiTImageProcessor").find("cannot say crop_origin"), std::string::npos);
  EXPECT_NE(refusal(options, "timm").find("cannot say squash_columns"), std::string::npos);
  options = timms;
  options.mode = Mode::border;
  EXPECT_NE(refusal(options, "BitImageProcessor").find("cannot say this resize"), std::string::npos);
  options = floors;
  options.offset = 1.0;
  EXPECT_NE(refusal(options, "BitImageProcessor").find("cannot say offset"), std::string::npos);
  EXPECT_NE(refusal(options, "VivitImageProcessor").find("written"), std::string::npos);
  options = timms;
  options.rescale = 1.0;
  EXPECT_NE(refusal(options, "timm").find("cannot say rescale"), std::string::npos);
  options = floors;
  options.resize_to = 225;  // int(256 / 224 s) is 224, 225, 226, 227, 228, 229, 230, 232, ...
  EXPECT_NE(refusal(options, "LevitImageProcessor").find("written"), std::string::npos);
  options.resize_to = 231;
  EXPECT_NE(refusal(options, "LevitImageProcessor").find("cannot say resize_to"), std::string::npos);
  options = timms;
  options.resize_to = 100;
  EXPECT_NE(refusal(options, "timm").find("less than"), std::string::npos);
}

TEST(Processor, ClassIsNamedOrTheModelTypes) {
  EXPECT_EQ(parsed("{}", "swinv2").filter, ResizeFilter::bilinear);
  EXPECT_EQ(parsed("{}", "deit").squash_rows, 256);
  EXPECT_EQ(parsed("{}", "data2vec-vision").squash_rows, 0);
  EXPECT_EQ(parsed("{}", "levit").resize_to, 256);
  EXPECT_EQ(parsed("{}", "convnext").rows, 384);
  EXPECT_EQ(parsed(R"({"image_processor_type":"BitImageProcessorFast"})").mode, Mode::short_side);
  EXPECT_EQ(
      parsed(
          R"({"image_processor_type":"DeiTImageProcessor","feature_extractor_type":"ViTFeatureExtractor"})")
          .squash_rows,
      256);
  EXPECT_EQ(parsed(R"({"image_processor":{"size":{"height":32,"width":48}},"processor_class":"X"})").columns,
            48);
  const ProcessorResult unknown =
      processor_from_json(R"({"image_processor_type":"Odd\u001b[2J","size":96,"strange":1})", "odd", {});
  ASSERT_EQ(unknown.notes.size(), 2u);
  EXPECT_NE(unknown.notes[0].find("\"Odd\\u001b[2J\""), std::string::npos) << unknown.notes[0];
  EXPECT_NE(unknown.notes[1].find("\"strange\""), std::string::npos) << unknown.notes[1];
  EXPECT_EQ(unknown.preprocess.rows, 96);
  EXPECT_EQ(processor_from_json("{}", "odd", {}).notes.size(), 1u);
}

TEST(Processor, SizeOfANumberGoesByClass) {
  EXPECT_EQ(parsed(R"({"size":77})", "pvt").mode, Mode::squash);
  EXPECT_EQ(parsed(R"({"size":77})", "dinov2").resize_to, 77);
  EXPECT_EQ(parsed(R"({"size":224})", "levit").resize_to, 256);
  EXPECT_EQ(parsed(R"({"size":224,"crop_pct":0.875})", "cvt").resize_to, 256);
  EXPECT_EQ(parsed(R"({"size":[32,64]})", "dinov2").squash_columns, 64);
  EXPECT_EQ(parsed(R"({"size":64,"crop_size":32})", "dinov2").columns, 32);
}

TEST(Processor, RefusesToGoDeep) {
  const std::string open(200000, '['), close(200000, ']');
  for (const std::string& value : {open + close, open})
    for (const std::string key : {"size", "pretrained_cfg", "other"}) {
      const std::string text = "{\"" + key + "\":" + value + "}";
      EXPECT_THROW(processor_from_json(text, "vit", {}), Error);
      EXPECT_THROW(processor_from_timm(text, {}), Error);
    }
}

TEST(Processor, NeitherResizeNorCrop) {
  Preprocess base;
  base.rows = 4;
  base.columns = 6;
  for (const char* type : {"vit", "cvt", "dinov2"}) {
    const ProcessorResult result =
        processor_from_json(R"({"do_resize":false,"do_center_crop":null})", type, base);
    ASSERT_EQ(result.notes.size(), 1u) << type;
    EXPECT_NE(result.notes[0].find("6 x 4"), std::string::npos);
    EXPECT_NO_THROW(preprocess(picture(6, 4), result.preprocess)) << type;
    EXPECT_THROW(preprocess(picture(7, 4), result.preprocess), Error) << type;
  }
}

TEST(Processor, ModelsWithTheirOwnPreprocessing) {
  Preprocess base;
  base.rows = base.columns = 1024;
  for (const char* text :
       {R"({"image_processor_type":"SamImageProcessor","size":{"longest_edge":1024},"do_pad":true,
                                "pad_size":{"height":1024,"width":1024}})",
        "{}"}) {
    const ProcessorResult sam = processor_from_json(text, "sam", base);
    EXPECT_EQ(sam.preprocess.to_json(), base.to_json());
    ASSERT_EQ(sam.notes.size(), 1u);
    EXPECT_NE(sam.notes[0].find("own preprocessing"), std::string::npos);
  }
  EXPECT_EQ(processor_from_json("{}", "dinov3_vit", {}).notes.size(), 1u);  // floats, not bytes
}

TEST(Processor, TimmInsideTransformers) {
  const ProcessorResult result = processor_from_json(
      R"({"image_processor_type":"TimmWrapperImageProcessor","pretrained_cfg":{"input_size":[3,64,48],"crop_pct":1.0}})",
      "timm_wrapper", {});
  EXPECT_EQ(result.preprocess.columns, 48);
  EXPECT_EQ(result.preprocess.crop_origin, CropOrigin::round_half_even);
}

TEST(Processor, TimmsKeys) {
  const auto timm = [](const char* text) { return processor_from_timm(text, {}); };
  EXPECT_EQ(timm(R"({"crop_pct":null,"mean":[0.5,0.5,0.5]})").preprocess.crop_pct, 0.875);
  EXPECT_EQ(timm(R"({"interpolation":"random"})").preprocess.filter, ResizeFilter::bicubic);
  EXPECT_EQ(timm(R"({"interpolation":"random"})").notes.size(), 1u);
  EXPECT_EQ(timm(R"({"crop_mode":"middle"})").notes.size(), 1u);
  const ProcessorResult none = timm(R"({"architecture":"x","pretrained_cfg":{"url":"","tag":"a"}})");
  EXPECT_EQ(none.preprocess.to_json(), Preprocess{}.to_json());
  EXPECT_EQ(none.notes.size(), 1u);
  const Preprocess six =
      timm(R"({"input_size":[6,8,8],"mean":[0.1,0.2,0.3,0.4,0.5,0.6],"std":[0.5]})").preprocess;
  EXPECT_EQ(six.channels, 6);
  EXPECT_EQ(six.mean[5], 0.6f);
  EXPECT_EQ(six.std[5], 0.5f);
  EXPECT_THROW(preprocess(picture(4, 4), six), Error);
  const ProcessorResult grey = timm(R"({"input_size":[1,8,8],"std":[0.226]})");
  EXPECT_NEAR(grey.preprocess.mean[0], 0.449, 1e-6);
  EXPECT_EQ(grey.notes.size(), 1u);
}

TEST(Processor, NamesTheKeyThatIsWrong) {
  struct Case {
    const char *key, *text, *type;
  };
  const Case cases[] = {
      {"size", R"({"size":0})", "vit"},
      {"size", R"({"size":1e9})", "vit"},
      {"size", R"({"size":18446744073709551615})", "vit"},
      {"size", R"({"size":"224"})", "vit"},
      {"size", R"({"size":[1,2,3]})", "vit"},
      {"size", R"({"size":{}})", "vit"},
      {"size", R"({"size":{"height":3}})", "vit"},
      {"size", R"({"size":{"height":3,"width":3,"shortest_edge":3}})", "vit"},
      {"size", R"({"size":{"shortest_edge":800,"longest_edge":1333}})", "vit"},
      {"size", R"({"size":{"max_height":3}})", "vit"},
      {"size.width", R"({"size":{"height":3,"width":-1}})", "vit"},
      {"size", R"({"size":{"height":300,"width":300}})", "convnext"},
      {"crop_pct", R"({"size":224,"crop_pct":0})", "convnext"},
      {"crop_pct", R"({"size":224,"crop_pct":1e-9})", "convnext"},
      {"crop_pct", R"({"size":224,"crop_pct":"a"})", "convnext"},
      {"crop_size", R"({"size":224,"do_center_crop":true,"crop_size":200})", "convnext"},
      {"crop_size", R"({"crop_size":{"shortest_edge":3}})", "dinov2"},
      {"crop_size", R"({"crop_size":true})", "dinov2"},
      {"crop_size", R"({"do_center_crop":true})", "vit"},
      {"do_resize", R"({"do_resize":1})", "vit"},
      {"do_normalize", R"({"do_normalize":"yes"})", "vit"},
      {"resample", R"({"resample":0})", "vit"},
      {"resample", R"({"resample":6})", "vit"},
      {"resample", R"({"resample":"bicubic"})", "vit"},
      {"rescale_factor", R"({"rescale_factor":0})", "vit"},
      {"rescale_factor", R"({"rescale_factor":1e999})", "vit"},
      {"rescale_factor", R"({"rescale_factor":[1]})", "vit"},
      {"offset", R"({"do_rescale":false})", "vivit"},
      {"image_mean", R"({"image_mean":[]})", "vit"},
      {"image_mean", R"({"image_mean":["0.5"]})", "vit"},
      {"image_mean", R"({"image_mean":1e300})", "vit"},
      {"image_mean", R"({"image_mean":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]})", "vit"},
      {"image_std", R"({"image_std":[1,0,1]})", "vit"},
      {"image_std", R"({"image_std":-1})", "vit"},
      {"do_pad", R"({"do_pad":true})", "vit"},
      {"do_flip_channel_order", R"({"do_flip_channel_order":true})", "vit"},
      {"image_processor_type", R"({"image_processor_type":3})", "vit"},
      {"pretrained_cfg", R"({"pretrained_cfg":3})", "vit"},
      {"JSON", "[]", "vit"},
      {"JSON", "{", "vit"},
      {"JSON", "\xff", "vit"},
      {"input_size", R"({"input_size":224})", "timm"},
      {"input_size", R"({"input_size":[3,224]})", "timm"},
      {"input_size", R"({"input_size":[17,224,224]})", "timm"},
      {"input_size", R"({"input_size":[3,224,1e5]})", "timm"},
      {"interpolation", R"({"interpolation":"nearest"})", "timm"},
      {"interpolation", R"({"interpolation":3})", "timm"},
      {"crop_pct", R"({"crop_pct":1.5})", "timm"},
      {"crop_pct", R"({"crop_pct":"1"})", "timm"},
      {"crop_pct", R"({"input_size":[3,1000,1000],"crop_pct":0.05,"crop_mode":"squash"})", "timm"},
      {"crop_mode", R"({"crop_mode":1})", "timm"},
      {"mean", R"({"mean":["a"]})", "timm"},
      {"std", R"({"std":[0,0,0]})", "timm"},
  };
  for (const Case& c : cases) {
    try {
      if (std::string(c.type) == "timm")
        processor_from_timm(c.text, {});
      else
        processor_from_json(c.text, c.type, {});
      ADD_FAILURE() << c.text;
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_EQ(what.find("[processor] "), 0u) << what;
      EXPECT_NE(what.find(c.key), std::string::npos) << c.text << ": " << what;
      EXPECT_LT(what.size(), 400u) << what;
    }
  }
}

}  // namespace processor_test
}  // namespace locant
