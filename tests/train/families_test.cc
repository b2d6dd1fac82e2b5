// Every model that can be trained: stopped and resumed, it is the run that was never stopped.
#include <gtest/gtest.h>

#include <set>

#include "models/load.h"
#include "models/registry.h"
#include "tests/train/train_run.h"
#include "train/evaluate.h"

namespace locant {
namespace families_test {

using testing::Json;
using testing::read_file;

class Families : public testing::TrainRun {};

bool has(const std::string& key, const char* part) { return key.find(part) != std::string::npos; }

std::unique_ptr<Model> shapes_of(const ModelEntry& entry) {
  ShapeSource source;
  return make_model(entry.family, entry.config, Weights(source, WeightMode::shapes));
}

/// Not clips of a video, nor sequences.
bool takes_pictures(const ModelEntry& entry) { return shapes_of(entry)->inputs().front().name == "images"; }

/// A registered configuration made tiny, whatever its family calls things: sizes go by parts of their names.
Json tiny(const ModelEntry& entry) {
  Json config = Json::parse(shapes_of(entry)->config());
  for (const auto& [key, value] : config.items()) {
    const auto put = [&value = value](std::int64_t number) {
      if (value.is_number_integer()) value = number;
      if (value.is_array())
        for (Json& part : value)
          if (part.is_number_integer()) part = number;
    };
    if (key == "img_size") put(32);
    if (key == "patch_size") put(8);
    if (key == "in_chans") put(1);
    if (has(key, "depth") || has(key, "heads") || has(key, "window")) put(2);
    if (key == "depths")  // a plain and a shifted block, then one a stage
      for (std::size_t stage = 1; stage < value.size(); ++stage) value[stage] = 1;
    if ((has(key, "dim") && key != "head_dim") || has(key, "out_chans")) put(16);
    if (key == "reduction") put(4);    // of hidden channels
    if (key == "stem_chans") put(16);  // LeViT's, whose last is its first dim
    if (key == "local_up_to_layer") put(1);
    if (key == "global_blocks") value = {1};
    if (key == "attention_blocks") value = {{0, 1}, {2, 0}, {3, 0}};  // of ResNets: one, and two that halve
    if (key == "block_size") put(4);
    if (key == "value_dims" || (key == "group_size" && value != 0)) put(2);
    if (key == "widths") put(8);
    if (key == "num_features" && value != 0) put(16);
    if (key == "dilations") value = Json::array();  // one a block
  }
  for (const char* key : {"heads", "head_dims", "key_dims", "value_dims"})  // of each of attention_blocks
    if (config.contains("attention_blocks") && config.contains(key) && config[key].is_array())
      config[key] = std::vector<std::int64_t>(3, config[key][0]);
  if (config.contains("drop_path")) config["drop_path"] = 0.1;
  config.erase("num_classes");
  config["family"] = entry.family;
  return config;
}

TEST_F(Families, ResumeToTheBit) {
  write_part("train", "train", 0, 10);
  write_part("train", "t10k", 30, 40);
  std::set<std::string> families, configs;
  for (const ModelEntry& entry : model_entries()) {
    if (!entry.has_head || !takes_pictures(entry)) continue;
    const std::string config = tiny(entry).dump();
    if (!configs.insert(config).second) continue;
    families.insert(entry.family);
    SCOPED_TRACE(entry.name + " as " + config);
    TrainOptions straight = options(fmt::format("straight{}", configs.size()), config.c_str());
    straight.epochs = 4;
    straight.batch = 5;
    straight.drop_path = -1.0;
    TrainOptions stopped = straight;
    stopped.out = (root_ / fmt::format("stopped{}", configs.size())).string();
    const TrainResult whole = train(straight);
    int epochs = 0;
    const TrainResult half =
        train(stopped, {{},
                        {},
                        [&](const std::string& line) { epochs += Json::parse(line)["kind"] == "epoch"; },
                        [&] { return epochs >= 2; }});
    EXPECT_EQ(half.epoch, 2);
    EXPECT_FALSE(half.finished);
    EXPECT_TRUE(train(resume_options(stopped.out)).finished);
    expect_same_run(straight, stopped);
    EXPECT_EQ(read_file(model_path(straight.out)), read_file(model_path(stopped.out)));

    // What was validated is what was saved: the averages of weights and running statistics.
    const LoadedModel loaded = load_model(model_path(straight.out), {"", WeightMode::train});
    const Datasets data = open_datasets(straight.data, loaded.preprocess, {});
    EXPECT_EQ(evaluate(*loaded.model, *data.val, loaded.preprocess, 8).accuracy, whole.ema_val_accuracy);
  }
  EXPECT_GE(families.size(), 21u);
}

}  // namespace families_test
}  // namespace locant
