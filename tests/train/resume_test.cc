// Going on with other numbers of epochs, and what a run leaves that ended badly.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "models/load.h"
#include "models/registry.h"
#include "tests/train/train_run.h"
#include "train/model_setup.h"
#include "train/schedule.h"

namespace locant {
namespace resume_test {

using testing::Json;
using testing::kSwin;
using testing::kVit;
using testing::read_file;
namespace fs = std::filesystem;

class Resume : public testing::TrainRun {
 protected:
  // Trains on until so many steps are done in this call, and stops before the epoch's validation.
  static TrainResult train_steps(const TrainOptions& o, int count) {
    int steps = 0;
    return train(o, {[&](const TrainProgress& p) { steps += p.phase == TrainProgress::Phase::training; },
                     {},
                     {},
                     [&] { return steps >= count; }});
  }
  // Trains on until so many epochs are done in this call.
  static TrainResult train_epochs(const TrainOptions& o, int count) {
    int epochs = 0;
    return train(o, {{},
                     {},
                     [&](const std::string& line) { epochs += Json::parse(line)["kind"] == "epoch"; },
                     [&] { return epochs >= count; }});
  }
  TrainOptions longer(const std::string& out, std::int64_t epochs) const {
    TrainOptions o = resume_options((root_ / out).string());
    o.epochs = epochs;
    return o;
  }
  static void edit_state(const TrainOptions& o,
                         const std::function<void(const std::string&, Tensor&)>& edit) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    const TrainState state = load_state(o.out, [&](const std::string& name, const Tensor& tensor) {
      tensors.emplace_back(name, tensor.clone());
      edit(name, tensors.back().second);
    });
    save_state(o.out, state, tensors);
  }
  TrainOptions wild(const std::string& out) const {
    TrainOptions o = options(out);
    o.lr = 1e3;
    o.clip = 0.0;
    o.warmup_epochs = 0;
    o.weight_decay = 1e3;
    o.epochs = 30;
    o.batch = 4;  // ten steps an epoch
    o.log_interval = 1;
    return o;
  }
};

TEST_F(Resume, MoreEpochsFollowTheLongerCosine) {
  TrainOptions o = options("run");
  o.epochs = 2;
  o.warmup_epochs = -1.0;
  o.batch = 4;  // ten steps an epoch, of which one warms up
  o.log_interval = 1;
  train(o);
  const TrainResult result = train(longer("run", 5));
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.epoch, 5);
  const CosineSchedule before{o.lr, 0.0, 1, 20}, after{o.lr, 0.0, 1, 50};
  for (const std::string& line : log_of(o)) {
    const Json entry = Json::parse(line);
    const auto step = entry["step"].get<std::int64_t>() - 1;
    EXPECT_EQ(entry["lr"].get<double>(), step < 20 ? before.at(step) : after.at(step)) << line;
  }
}

TEST_F(Resume, MoreEpochsResumeToTheBitToo) {
  for (const char* name : {"straight", "stopped"}) {
    TrainOptions o = options(name);
    o.epochs = 2;
    o.warmup_epochs = -1.0;
    train(o);
  }
  train(longer("straight", 4));
  EXPECT_EQ(train_steps(longer("stopped", 4), 4).epoch, 3);
  EXPECT_TRUE(train(resume_options((root_ / "stopped").string())).finished);
  expect_same_run(options("straight"), options("stopped"));
}

TEST_F(Resume, AStoppedRunMayEndSooner) {
  const TrainOptions o = options("run");
  EXPECT_EQ(train_steps(o, 4).epoch, 1);
  EXPECT_NE(error_of(longer("run", 1)).find("has begun its epoch 2; --epochs 1 is too few"),
            std::string::npos);
  EXPECT_EQ(train(longer("run", 2)).epoch, 2);
  std::string notes;
  const TrainResult done =
      train(resume_options(o.out), {{}, [&](const std::string& line) { notes += line + "\n"; }, {}, {}});
  EXPECT_TRUE(done.finished);
  EXPECT_EQ(done.step, 6);
  EXPECT_NE(notes.find("all 2 epochs are done; --epochs"), std::string::npos) << notes;
}

TEST_F(Resume, ALossThatIsNotFiniteLeavesTheFolderFree) {
  TrainOptions o = wild("run");
  const std::string message = error_of(o);
  for (const char* part :
       {"in epoch 1", "Try a lower --lr (it is 1000)", "--warmup-epochs", "--clip", "nothing was saved"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(o.out));
  fs::create_directories(o.out);  // a folder of the user's own stays
  std::ofstream(fs::path(o.out) / "notes.txt") << "mine";
  error_of(o);
  EXPECT_FALSE(fs::exists(log_path(o.out)));
  EXPECT_EQ(read_file((fs::path(o.out) / "notes.txt").string()), "mine");
  o.lr = 1e-3;
  o.weight_decay = 0.0;
  o.epochs = 1;
  EXPECT_TRUE(train(o).finished);
}

TEST_F(Resume, ALossThatIsNotFiniteSaysHowToGoOn) {
  TrainOptions o = options("run");
  o.epochs = 30;
  EXPECT_EQ(train_epochs(o, 1).epoch, 1);
  edit_state(o, [](const std::string& name, Tensor& tensor) {
    if (name == "w.head.weight") tensor.fill(3e38f);
  });
  const std::string message = error_of(resume_options(o.out));
  for (const std::string& part : {std::string("the loss of step 1 is not a number, in epoch 2"),
                                  std::string("The last checkpoint is whole"), "--resume " + o.out,
                                  "--init " + model_path(o.out), std::string("Try a lower --lr")})
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(Resume, NoWeightIsSavedThatIsNotFinite) {
  TrainOptions o = options("run", kVit);
  o.batch = 40;  // one step an epoch: its loss is of the weights before it
  o.weight_decay = 1e3;
  o.lr = o.min_lr = 100.0;
  o.warmup_epochs = 0;
  o.epochs = 30;
  EXPECT_EQ(train_epochs(o, 1).epoch, 1);
  // A weight that nothing sees, so that the loss is finite, and that the decay of a step makes infinite.
  edit_state(o, [](const std::string& name, Tensor& tensor) {
    if (name == "w.blocks.0.norm1.weight" || name == "w.blocks.0.norm1.bias") tensor.fill(0.0f);
    if (name == "w.blocks.0.attn.qkv.weight") tensor.fill(1e35f);
  });
  const std::string state = read_file(state_path(o.out));
  const std::string message = error_of(resume_options(o.out));
  EXPECT_NE(message.find("a weight is not finite after step 1, in epoch 2"), std::string::npos) << message;
  EXPECT_TRUE(read_file(state_path(o.out)) == state);
}

TEST_F(Resume, TheLogOfARunThatWasKilledAtOnceIsNoRun) {
  const TrainOptions o = options("run");
  fs::create_directories(o.out);
  std::ofstream(log_path(o.out)) << R"({"kind":"skip","picture":"x","reason":"y"})"
                                 << "\n"
                                 << R"({"kind":"step","epoch":1,"step":2})"
                                 << "\n"
                                 << R"({"kind":"st)";
  EXPECT_EQ(train_steps(o, 1).step, 1);
  fs::remove(state_path(o.out));
  std::ofstream(log_path(o.out)) << R"({"epoch":1,"loss":2.0})"
                                 << "\n";  // of another task
  EXPECT_NE(error_of(o).find("is the log of another run"), std::string::npos);
}

TEST_F(Resume, AFullDiskIsSaid) {
  const TrainOptions o = options("run");
  train_steps(o, 3);
  fs::remove(log_path(o.out));
  fs::create_symlink("/dev/full", log_path(o.out));
  const std::string message = error_of(resume_options(o.out));
  EXPECT_NE(message.find("No space left on device"), std::string::npos) << message;
  EXPECT_TRUE(fs::exists(state_path(o.out)));
}

TEST_F(Resume, AHeadlessStartThatDoesNotFitIsSaid) {
  const std::string config =
      R"({"img_size":28,"patch_size":7,"in_chans":1,"dim":10,"depth":1,"heads":2,"num_classes":0})";
  RandomSource source(1);
  const auto model = make_model("vit", config, Weights(source, WeightMode::train));
  const std::string path = (root_ / "headless.safetensors").string();
  save_model(path, *model, {"vit", {.rows = 28, .columns = 28, .channels = 1}, {}, {}});
  TrainOptions o = options("run", "");
  o.init = path;
  o.drop_path = -1.0;
  EXPECT_EQ(build_train_model(o, 10).model->num_classes(), 10);
  o.config = R"({"in_chans":3})";  // ten channels, as there are classes, and another kernel
  EXPECT_NE(error_of(o).find("patch_embed.proj.weight has shape"), std::string::npos);
}

}  // namespace resume_test
}  // namespace locant
