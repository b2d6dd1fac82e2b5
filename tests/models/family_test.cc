// What every registered family must hold, and the parts that they share.
#include "models/family.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/pool.h"
#include "models/parts.h"
#include "models/registry.h"

namespace locant {
namespace family_test {

using Json = nlohmann::json;

std::map<std::string, Shape> shapes_of(const ModelEntry& entry) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model_parameters(entry.family, entry.config)) out.emplace(p.name, p.shape);
  return out;
}

TEST(Families, NamesAreUniqueAndFound) {
  std::set<std::string> names;
  for (const Family* family : families()) {
    EXPECT_TRUE(names.insert(family->name).second) << family->name;
    EXPECT_EQ(&find_family(family->name), family);
    EXPECT_FALSE(family->renames().empty()) << family->name;
  }
  EXPECT_THROW(find_family("perceiver"), Error);
}

// Every variant, told from its own names and shapes, has those names and shapes.
TEST(Families, ShapesTellTheConfiguration) {
  for (const ModelEntry& entry : model_entries()) {
    SCOPED_TRACE(entry.name);
    const Family& family = find_family(entry.family);
    const std::map<std::string, Shape> want = shapes_of(entry);
    // Told the rest, it is the variant, to the last field: nothing that is known is overwritten.
    const std::string whole = merge_config(family.default_config(family), entry.config);
    const NamedShapes all(family.name, want);
    EXPECT_EQ(Json::parse(family.from_shapes(family, all, whole)), Json::parse(whole));
    EXPECT_TRUE(all.assumed().empty()) << all.assumed()[0];
    std::string config;
    try {
      config = family.from_shapes(family, NamedShapes(family.name, want), "");
    } catch (const Error& error) {  // no shape tells Swin V2's windows, nor that DeiT III's tensors turn
      const std::set<std::string> untold = {"swin_v2", "eva02", "vit_rope"};
      EXPECT_EQ(untold.count(entry.family), 1u) << error.what();
      EXPECT_NE(std::string(error.what()).find("told"), std::string::npos) << error.what();
      continue;
    }
    ModelEntry told = entry;
    told.config = config;
    EXPECT_EQ(shapes_of(told), want);
  }
}

TEST(Families, ShapesOfAnotherFamilyAreRefused) {
  const std::map<std::string, Shape> nothing = {{"fc.weight", Shape{10, 4}}};
  for (const ModelEntry& entry : model_entries()) {
    const Family& family = find_family(entry.family);
    EXPECT_THROW(family.from_shapes(family, NamedShapes(family.name, nothing), ""), Error) << family.name;
  }
}

// Any number in a configuration, as a damaged or hostile file may have it: a model that lists its shapes, or
// an Error, and never much memory.
TEST(Families, ImpossibleConfigurationsAreRefusedWithoutMemory) {
  for (const Family* family : families()) {
    ShapeSource source;
    const Json plain = Json::parse(build_model(*family, "", Weights(source, WeightMode::shapes))->config());
    int refused = 0;
    for (const auto& item : plain.items())
      for (const std::int64_t number : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 20}) {
        Json changed = plain;
        Json& value = changed[item.key()];
        if (value.is_number()) value = number;
        if (value.is_array())
          for (Json& part : value)
            if (part.is_number()) part = number;
        if (changed == plain) continue;
        Pool::global().reset_peak();
        try {
          model_parameters(family->name, changed.dump(), 4096);
        } catch (const Error&) {
          ++refused;
        }
        EXPECT_LT(Pool::global().stats().largest_request, 1 << 20) << family->name << " " << changed.dump();
      }
    EXPECT_GT(refused, 0) << family->name;
  }
}

TEST(Families, VariantsSayOnlyWhatTheyChange) {
  for (const ModelEntry& entry : model_entries()) {
    const Family& family = find_family(entry.family);
    ShapeSource source;
    const Weights weights(source, WeightMode::shapes);
    const Json whole = Json::parse(build_model(family, entry.config, weights)->config());
    const Json plain = Json::parse(entry.config);
    for (const auto& item : plain.items())
      EXPECT_EQ(whole[item.key()], item.value()) << entry.name << " " << item.key();
    EXPECT_EQ(build_model(family, entry.config, weights)->num_classes(),
              family.classes(family, entry.config));
    EXPECT_EQ(entry.has_head, family.classes(family, entry.config) > 0) << entry.name;
  }
}

TEST(Families, PortsAreNamedOnce) {
  for (const Family* family : families()) {
    ShapeSource source;
    const std::vector<ModelEntry> entries = family->variants(*family);
    const auto model =
        build_model(*family, entries.empty() ? "" : entries[0].config, Weights(source, WeightMode::shapes));
    std::set<std::string> names;
    for (const Port& port : model->inputs()) EXPECT_TRUE(names.insert(port.name).second) << family->name;
    names.clear();
    for (const Port& port : model->outputs()) EXPECT_TRUE(names.insert(port.name).second) << family->name;
    for (const std::string& option : family->call_options()) {
      bool found = false;
      for (const Port& port : model->inputs())
        found |= port.name == option && port.kind == Port::Kind::option;
      EXPECT_TRUE(found) << family->name << " " << option;
    }
  }
}

TEST(Families, HubConfigurationsBecomeOurs) {
  const Family& vit = find_family("vit");
  const HubKeys keys = vit.hub().at(0);
  EXPECT_EQ(keys.model_type, "vit");
  const std::string config = from_hub(
      keys,
      R"({"model_type":"vit","hidden_size":48,"num_hidden_layers":2,"num_attention_heads":3,"image_size":32,)"
      R"("patch_size":8,"intermediate_size":100,"id2label":{"0":"a","1":"b","2":"c"},"return_dict":true})");
  ShapeSource source;
  const auto model = build_model(vit, config, Weights(source, WeightMode::shapes));
  const Json got = Json::parse(model->config());
  EXPECT_EQ(got["dim"], 48);
  EXPECT_EQ(got["mlp_hidden"], 100);
  EXPECT_EQ(got["norm_eps"], 1e-12);
  EXPECT_EQ(got["pos_resize"], "bicubic");
  EXPECT_EQ(model->num_classes(), 3);
  EXPECT_THROW(from_hub(keys, "[1]"), Error);
}

TEST(Values, FindsByName) {
  Values values = {{"a", Var(Tensor::zeros({2}))}};
  values.set("b", Var(Tensor::full({1}, 3.0f)));
  values.set("a", Var(Tensor::full({2}, 1.0f)));
  EXPECT_EQ(values.size(), 2u);
  EXPECT_EQ(values.at("a").value()[1], 1.0f);
  EXPECT_EQ(values.number("b"), 3);
  EXPECT_FALSE(values.get("c").defined());
  EXPECT_THROW(values.at("c"), Error);
  EXPECT_THROW(values.number("a"), Error);
}

TEST(Values, InputsAreChecked) {
  using Kind = Port::Kind;
  const std::vector<Port> ports = {{"images", "B C H W"},
                                   {"ids", "B N", "", Kind::ids, true},
                                   {"mask", "B N", "", Kind::mask, true},
                                   {"how", "", "", Kind::option, true}};
  const Var images(Tensor::zeros({1, 3, 2, 2}));
  const auto message = [&](const Values& values) {
    try {
      check_inputs("test", ports, values);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto tokens = [](float x) { return Var(Tensor::full({1, 2}, x)); };
  EXPECT_EQ(message({{"images", images}, {"ids", tokens(7)}, {"mask", tokens(1)}, {"how", tokens(-0.5f)}}),
            "");
  EXPECT_NE(message({}).find("images (B C H W) is missing"), std::string::npos);
  EXPECT_NE(message({{"images", tokens(0)}}).find("(B C H W) was expected"), std::string::npos);
  EXPECT_NE(message({{"images", images}, {"frames", images}}).find("no input is called \"frames\""),
            std::string::npos);
  EXPECT_NE(message({{"images", images}, {"ids", tokens(0.5f)}}).find("ids holds 0.5"), std::string::npos);
  EXPECT_NE(message({{"images", images}, {"ids", tokens(-1)}}).find("ids holds -1"), std::string::npos);
  EXPECT_NE(message({{"images", images}, {"mask", tokens(2)}}).find("0 and 1 were expected"),
            std::string::npos);
}

TEST(NamedShapes, HugeSidesTellNothing) {
  const std::int64_t huge = std::int64_t{1} << 62;
  const NamedShapes shapes("test", {{"proj.weight", Shape{0, 3, huge, huge}}});
  PatchInput input;
  EXPECT_THROW(input.from_shapes(shapes, "proj.weight", "head.weight"), Error);
  EXPECT_THROW(shapes.dim("proj.weight", 4), Error);
  EXPECT_THROW(shapes.dim("other", 0), Error);
}

TEST(PatchInput, SaysTheNearestSize) {
  PatchInput input;
  input.patch_size = {16, 8};
  const auto grid = [&](std::int64_t rows, std::int64_t columns) {
    return input.grid("test", Var(Tensor::zeros({1, 3, rows, columns})));
  };
  EXPECT_EQ(grid(32, 24).rows, 2);
  EXPECT_EQ(grid(32, 24).columns, 3);
  try {
    grid(41, 24);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the nearest size is 48 x 24"), std::string::npos)
        << error.what();
  }
  input.patch_remainder = PatchInput::Remainder::drop;
  EXPECT_EQ(grid(41, 24).rows, 2);
  EXPECT_THROW(grid(15, 24), Error);
  input.patch_remainder = PatchInput::Remainder::pad;
  EXPECT_EQ(grid(41, 24).rows, 3);
  EXPECT_EQ(grid(15, 24).rows, 1);
  EXPECT_THROW(input.grid("test", Var(Tensor::zeros({1, 4, 16, 8}))), Error);
}

TEST(DropRates, RiseToTheLastBlock) {
  EXPECT_EQ(drop_rates(3, 0.5), (std::vector<float>{0.0f, 0.25f, 0.5f}));
  EXPECT_EQ(drop_rates(1, 0.5), (std::vector<float>{0.0f}));
  EXPECT_TRUE(drop_rates(0, 0.5).empty());
}

}  // namespace family_test
}  // namespace locant
