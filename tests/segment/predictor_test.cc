// The official predictor on a photograph, with weights made by formula: one pass of the whole image encoder.
#include "segment/predictor.h"

#include "core/error.h"
#include "models/registry.h"
#include "tests/segment/oracle.h"

namespace locant::testing {
namespace predictor_test {

/// The numbers of an oracle's parameters; those it does not name are zero.
class OracleSource final : public WeightSource {
 public:
  explicit OracleSource(const Json& parameters) {
    for (const Json& p : parameters) specs_[p["name"].get<std::string>()] = p;
  }
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    Tensor out = Tensor::zeros(shape);
    const auto found = specs_.find(name);
    if (found == specs_.end()) return out;
    const Json& spec = found->second;
    const double offset = spec["offset"], scale = spec["scale"];
    const std::uint64_t hash = fnv1a64(name), repeat = spec.value("repeat", 1u);
    for (std::int64_t i = 0; i < out.numel(); ++i)
      out[i] = static_cast<float>(offset + scale * v(hash, static_cast<std::uint64_t>(i) / repeat));
    return out;
  }

 private:
  std::map<std::string, Json> specs_;
};

constexpr const char* kDecoder = R"({"parts":"decoder"})";

std::shared_ptr<const Sam> sam_of(const Json& parameters, const char* parts) {
  OracleSource source(parameters);
  return build_sam(merge_config(find_model("sam_vit_b").config, parts),
                   Weights(source, WeightMode::inference));
}

class Predictor : public ::testing::Test {
 protected:
  static SamPrompt prompt_of(const Json& c) {
    SamPrompt out;
    for (const Json& xy : c.value("point_coords", Json::array())) out.points.push_back({xy[0], xy[1]});
    for (const Json& label : c.value("point_labels", Json::array())) out.labels.push_back(label);
    if (c.contains("box")) out.box = {{c["box"][0], c["box"][1], c["box"][2], c["box"][3]}};
    if (c.contains("mask_input")) {
      const std::vector<float> logits = disc_logits({256, 256}, c["mask_input"]);
      out.mask_input = Tensor::from({256, 256}, logits);
    }
    return out;
  }

  static void expect_answers(const SamPredictor& predictor, const Json& cases) {
    for (const Json& c : cases) {
      SCOPED_TRACE(c["case"].get<std::string>());
      const SamPrediction got = predictor.predict(prompt_of(c), c["multimask_output"]);
      const Tensor logits = got.logits();
      const std::vector<Mask> masks = got.masks();
      ASSERT_EQ(masks.size(), c["masks"].size());
      for (std::size_t m = 0; m < masks.size(); ++m) {
        EXPECT_NEAR(got.iou[static_cast<std::int64_t>(m)], c["iou"][m].get<double>(), 1e-5);
        EXPECT_LE(summary_error(mask_of(got.low_res, m), c["low_res"][m]), 5e-5);
        const Json& want = c["masks"][m];
        EXPECT_LE(summary_error(mask_of(logits, m), want), 2e-4);
        expect_mask(masks[m], want);
      }
    }
  }
  static std::span<const float> mask_of(const Tensor& all, std::size_t m) {
    const auto size = static_cast<std::size_t>(all.dim(2) * all.dim(3));
    return all.values().subspan(m * size, size);
  }
  /// Pixels whose logit is within rounding of zero may differ.
  static void expect_mask(const Mask& got, const Json& want) {
    const std::int64_t near = want["near"];
    if (want.contains("rle")) {
      const Mask official = rle_to_mask(coco_decode_rle(want["rle"].get<std::string>(), got.size));
      EXPECT_LE(differing_pixels(got, official), near);
    } else if (near == 0) {
      EXPECT_EQ(bits_sha256(got), want["sha256"].get<std::string>());
    } else {
      EXPECT_LE(std::abs(area(got) - want["area"].get<std::int64_t>()), near);
    }
  }

  static void expect_batches(SamPredictor& predictor, const Json& boxes, const Json& points) {
    std::vector<PromptBox> asked;
    for (const Json& b : boxes["inputs"]) asked.push_back({b[0], b[1], b[2], b[3]});
    const SamPrediction got = predictor.predict_boxes(asked, boxes["multimask_output"]);
    EXPECT_LE(summary_error(got.low_res.values(), boxes["low_res"]), 5e-5);
    EXPECT_LE(summary_error(got.logits().values(), boxes["logits"]), 2e-4);
    const std::vector<Mask> masks = got.masks();
    for (std::size_t b = 0; b < asked.size(); ++b) {
      EXPECT_NEAR(got.iou[static_cast<std::int64_t>(b)], boxes["iou"][b][0].get<double>(), 1e-5);
      expect_mask(masks[b], boxes["masks"][b][0]);
    }

    std::vector<PromptPoint> places;
    for (const Json& p : points["inputs"]) places.push_back({p[0], p[1]});
    const auto candidates = predictor.predict(places);
    ASSERT_EQ(candidates->count(), 9);
    for (std::int64_t n = 0; n < 9; ++n) {
      const auto b = static_cast<std::size_t>(n / 3), m = static_cast<std::size_t>(n % 3);
      EXPECT_NEAR(candidates->predicted_iou(n), points["iou"][b][m].get<double>(), 1e-5);
      Mask mask{{300, 451}, std::vector<std::uint8_t>(300 * 451)};
      candidates->rows(n, 0.0f, [&](std::int64_t y, std::int64_t x0, std::span<const float> logits) {
        for (std::size_t x = 0; x < logits.size(); ++x)
          mask.bits[static_cast<std::size_t>(y * 451 + x0) + x] = logits[x] > 0.0f;
      });
      expect_mask(mask, points["masks"][b][m]);
    }
  }
};

TEST_F(Predictor, AgreesWithTheOfficialOne) {
  const Json oracle = read_oracle("predictor_vit_b_chelsea");
  PictureEmbedding embedding;
  {
    SamPredictor predictor(sam_of(oracle["parameters"], "{}"));
    predictor.set_image(read_photo("chelsea"));
    embedding = predictor.embedding();
  }
  EXPECT_EQ(embedding.original, size_of(oracle["image"]["size_hw"]));
  EXPECT_EQ(embedding.input, size_of(oracle["resized_hw"]));
  EXPECT_LE(summary_error(embedding.features.values(), oracle["features"]), 5e-5);

  // Prompts are answered by the decoder alone.
  SamPredictor predictor(sam_of(oracle["parameters"], kDecoder));
  predictor.set_embedding(embedding);
  expect_answers(predictor, oracle["cases"]);
  expect_batches(predictor, oracle["batches"][0], oracle["batches"][1]);

  SamPredictor other(sam_of(oracle["plain_parameters"], kDecoder));
  other.set_embedding(embedding);
  expect_answers(other, oracle["plain"]["cases"]);
}

/// The decoder of random numbers on small squares.
std::shared_ptr<const Sam> small_sam(float embeddings_of_points = 0.0f) {
  class Source final : public WeightSource {
   public:
    explicit Source(float value) : value_(value) {}
    Tensor get(const std::string& name, const Shape& shape, const Init& init) override {
      Tensor out = random_.get(name, shape, init);
      if (value_ != 0.0f && name.find("point_embeddings") != std::string::npos) out.fill(value_);
      return out;
    }

   private:
    RandomSource random_{1};
    float value_;
  } source(embeddings_of_points);
  return build_sam(R"({"image_size":64,"parts":"decoder"})", Weights(source, WeightMode::inference));
}

PictureEmbedding small_embedding() {
  RandomSource source(2);
  return {source.get("features", {1, 256, 4, 4}, Init::normal(1.0f)), {30, 40}, {48, 64}};
}

TEST_F(Predictor, TakesPlacesOutsideThePictureAsTheOfficialOne) {
  // predictor.py scales coordinates and prompt_encoder.py divides by the side: nothing is clipped.
  const std::shared_ptr<const Sam> sam = small_sam();
  SamPredictor predictor(sam);
  predictor.set_embedding(small_embedding());
  const SamPrompt prompt{.points = {{44, -3}, {-8, 50}}, .labels = {1, 0}, .box = {{-2.5, -4, 41, 33}}};
  const SamPrediction got = predictor.predict(prompt, true);
  // 64 / 40 and 48 / 30.
  const SamPrompts scaled{.points = Tensor::from({1, 2, 2}, std::vector<float>{70.4f, -4.8f, -12.8f, 80.0f}),
                          .labels = Tensor::from({1, 2}, std::vector<float>{1, 0}),
                          .boxes = Tensor::from({1, 4}, std::vector<float>{-4.0f, -6.4f, 65.6f, 52.8f})};
  const SamMasks want =
      sam->decode({}, Var(small_embedding().features), sam->encode_prompts({}, scaled), true);
  for (std::int64_t i = 0; i < want.masks.value().numel(); ++i)
    ASSERT_NEAR(got.low_res[i], want.masks.value()[i], 1e-5);
  const SamPrompt clipped{.points = {{40, 0}, {0, 30}}, .labels = {1, 0}, .box = {{0, 0, 40, 30}}};
  EXPECT_NE(predictor.predict(clipped, true).low_res[0], got.low_res[0]);
  const PromptBox box = prompt.box[0];
  EXPECT_EQ(predictor.predict_boxes(std::vector<PromptBox>{box}).low_res[7],
            predictor.predict({.box = {box}}).low_res[7]);

  EXPECT_EQ(outside_of(prompt, {30, 40}), "the point 44,-3");
  EXPECT_EQ(outside_of({.box = prompt.box}, {30, 40}), "the box -2.5,-4,41,33");
  EXPECT_EQ(outside_of({.points = {{40, 30}}, .labels = {1}, .box = {{0, 0, 40, 30}}}, {30, 40}), "");
}

TEST_F(Predictor, RefusesWhatIsNotFinite) {
  SamPredictor predictor(small_sam());
  PictureEmbedding bad = small_embedding();
  bad.features[77] = NAN;
  EXPECT_NE(
      error_of([&] { predictor.set_embedding(bad); }).find("an embedding that holds nan at (0, 4, 3, 1)"),
      std::string::npos);
  EXPECT_FALSE(predictor.is_image_set());
  predictor.set_embedding(small_embedding());
  const auto refused = [&](SamPrompt prompt) {
    prompt.name = "prompt 2 of 3";
    return error_of([&] { predictor.predict(prompt); });
  };
  for (const double x : {double(NAN), double(INFINITY), -double(INFINITY), 1e30}) {
    const std::string point = refused({.points = {{5, 5}, {5, x}}, .labels = {1, 1}});
    EXPECT_NE(point.find("[segment] prompt 2 of 3: the point 5,"), std::string::npos) << point;
    const std::string box = refused({.box = {{0, 0, x, 9}}});
    EXPECT_NE(box.find("prompt 2 of 3: the box 0,0,"), std::string::npos) << box;
    const std::string boxes = error_of([&] {
      predictor.predict_boxes(std::vector<PromptBox>{{0, 0, 5, 9}, {0, x, 5, 9}});
    });
    EXPECT_NE(boxes.find("box 2 of 2: "), std::string::npos) << boxes;
  }
  Tensor mask = Tensor::zeros({16, 16});
  mask[17] = -INFINITY;
  EXPECT_NE(refused({.mask_input = mask}).find("prompt 2 of 3: the mask prompt holds -inf at (1, 1)"),
            std::string::npos);
  // Finite weights whose answers are not: products overflow.
  SamPredictor other(small_sam(3e38f));
  other.set_embedding(small_embedding());
  const std::string answer = error_of([&] {
    other.predict({.points = {{5, 5}}, .labels = {1}, .name = "prompt 7"});
  });
  EXPECT_NE(answer.find("prompt 7: the answer's masks hold "), std::string::npos) << answer;
}

TEST_F(Predictor, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  SamPredictor predictor(build_sam(kDecoder, Weights(source, WeightMode::inference)));
  const PictureEmbedding whole{Tensor::zeros({1, 256, 64, 64}), {300, 451}, {681, 1024}};
  predictor.set_embedding(whole);
  const auto refused = [&](const SamPrompt& prompt) { return error_of([&] { predictor.predict(prompt); }); };
  EXPECT_NE(refused({.points = {{5, 20}}, .labels = {}}).find("0 labels for 1 points"), std::string::npos);
  EXPECT_NE(refused({.points = {{5, 20}}, .labels = {4}}).find("a label of 4"), std::string::npos);
  EXPECT_NE(refused({.box = {{10, 10, 10, 50}}}).find("is empty"), std::string::npos);
  EXPECT_NE(refused({.box = {{50, 10, 10, 50}}}).find("is empty"), std::string::npos);
  const auto unasked = [](const SamPrompt& prompt) {
    return error_of([&] { check_sam_prompt(prompt, 1024); });
  };
  EXPECT_NE(unasked({}).find("nothing is asked"), std::string::npos);
  EXPECT_NE(
      unasked({.points = {{5, 20}}, .labels = {-1}, .name = "prompt 2"}).find("prompt 2: nothing is asked"),
      std::string::npos);
  EXPECT_NE(refused({.mask_input = Tensor::zeros({64, 64})}).find("a mask prompt of shape (64, 64)"),
            std::string::npos);
  EXPECT_NE(error_of([&] { predictor.set_image(read_photo("chelsea")); }).find("only the decoder"),
            std::string::npos);
  EXPECT_NE(refused({.points = {{5, 20}}, .labels = {1}}).find("no picture is set"), std::string::npos);
  PictureEmbedding foreign = whole;
  foreign.features = Tensor::zeros({1, 256, 32, 32});
  EXPECT_NE(error_of([&] { predictor.set_embedding(foreign); }).find("(1, 256, 32, 32)"), std::string::npos);
}

}  // namespace predictor_test
}  // namespace locant::testing
