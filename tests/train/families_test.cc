// Every model that can be trained: stopped and resumed, it is the run that was never stopped.
#include <gtest/gtest.h>

#include <set>

#include "models/load.h"
#include "models/registry.h"
#include "tests/support/tiny_models.h"
#include "tests/train/train_run.h"
#include "train/evaluate.h"

namespace locant {
namespace families_test {

using testing::Json;
using testing::read_file;

class Families : public testing::TrainRun {};

/// Not clips of a video, nor sequences.
bool takes_pictures(const ModelEntry& entry) {
  ShapeSource source;
  const auto model = make_model(entry.family, entry.config, Weights(source, WeightMode::shapes));
  return model->inputs().front().name == "images";
}

/// Without classes: the data has them.
Json tiny(const ModelEntry& entry) {
  Json config = testing::tiny(find_family(entry.family), entry.config);
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
