// Pictures that cannot be used: left out, named, the same on every way through the data.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "io/image.h"
#include "tests/train/train_run.h"

namespace locant {
namespace skip_test {

using testing::Json;
using testing::read_file;
namespace fs = std::filesystem;

class Skip : public testing::TrainRun {
 protected:
  void SetUp() override {
    testing::TrainRun::SetUp();
    photos_ = root_ / "photos";
    for (int i = 0; i < 6; ++i) {
      write_picture(fmt::format("cat/{}.png", i), 10 * i);
      write_picture(fmt::format("dog/{}.png", i), 10 * i + 100);
    }
  }
  void write_picture(const std::string& name, int value) const {
    fs::create_directories((photos_ / name).parent_path());
    write_png((photos_ / name).string(),
              {8, 8, std::vector<std::uint8_t>(8 * 8 * 3, static_cast<std::uint8_t>(value))});
  }
  void write(const std::string& name, const std::string& bytes) const {
    fs::create_directories((photos_ / name).parent_path());
    std::ofstream(photos_ / name, std::ios::binary) << bytes;
  }
  void spoil() const {
    write("cat/broken.png", "no picture at all");
    write("cat/empty.jpg", "");
    write("dog/2b.png", read_file((photos_ / "dog/2.png").string()).substr(0, 45));
    fs::create_symlink("nowhere.png", photos_ / "dog/gone.png");
    ASSERT_EQ(::mkfifo((photos_ / "dog/pipe.jpg").c_str(), 0600), 0);
    // Nobody means these.
    write("cat/._0.png", "a resource fork");
    write("cat/.ipynb_checkpoints/0-checkpoint.png", "no picture");
    write("__MACOSX/._cat.png", "a resource fork");
    write(".ipynb_checkpoints/x.png", "no picture");
  }
  Datasets open(DataOptions options = {}) const {
    options.path = photos_.string();
    return open_datasets(options, form_, {});
  }
  std::vector<std::string> names_of(const std::vector<SkippedPicture>& skipped) const {
    std::vector<std::string> out;
    for (const SkippedPicture& picture : skipped) {
      EXPECT_EQ(picture.reason.find(picture.path), std::string::npos) << picture.reason;
      EXPECT_GT(picture.reason.size(), 10u);
      out.push_back(fs::path(picture.path).filename().string());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  TrainOptions photo_options(const std::string& out) const {
    TrainOptions o = options(
        out, R"({"family":"vit","img_size":8,"patch_size":4,"in_chans":3,"dim":16,"depth":1,"heads":2})");
    o.data.path = photos_.string();
    o.batch = 4;
    o.log_interval = 1;
    return o;
  }
  static std::string message_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  const std::vector<std::string> spoilt_{"2b.png", "broken.png", "empty.jpg", "gone.png", "pipe.jpg"};
  fs::path photos_;
  Preprocess form_{.rows = 8, .columns = 8, .channels = 3, .mode = Preprocess::Mode::squash};
};

TEST_F(Skip, TheGoodPicturesAreAllThere) {
  const std::uint64_t clean = open().train->fingerprint();
  spoil();
  std::vector<std::uint64_t> fingerprints;
  for (const std::int64_t cache : {std::int64_t{1} << 20, std::int64_t{0}}) {
    const Datasets data = open({.cache_bytes = cache});
    EXPECT_EQ(data.classes, (std::vector<std::string>{"cat", "dog"}));
    EXPECT_EQ(names_of(data.skipped), spoilt_);
    ASSERT_EQ(data.train->size(), 12);
    std::vector<std::uint8_t> planes(3 * 8 * 8);
    for (std::int64_t i = 0; i < 12; ++i) {
      data.train->read(i, planes.data());
      EXPECT_EQ(planes[0], i < 6 ? 10 * i : 10 * (i - 6) + 100);
      EXPECT_EQ(data.train->label(i), i / 6);
    }
    fingerprints.push_back(data.train->fingerprint());
  }
  EXPECT_EQ(fingerprints[0], fingerprints[1]);
  EXPECT_NE(fingerprints[0], clean);
}

TEST_F(Skip, ASplitKeepsItsSides) {
  spoil();
  const Datasets data = open({.val_split = 0.4});
  EXPECT_EQ(names_of(data.skipped), spoilt_);
  EXPECT_EQ(data.train->size() + data.val->size(), 12);
}

TEST_F(Skip, StrictStopsAtTheFirst) {
  spoil();
  EXPECT_NE(message_of([&] { open({.strict = true}); }).find("pipe.jpg: no regular file"), std::string::npos);
  fs::remove(photos_ / "dog/pipe.jpg");
  for (const std::int64_t cache : {std::int64_t{1} << 20, std::int64_t{0}}) {
    const std::string message = message_of([&] { open({.cache_bytes = cache, .strict = true}); });
    EXPECT_NE(message.find("cat/broken.png: not a picture"), std::string::npos) << message;
  }
}

TEST_F(Skip, SaysWhenNothingIsLeft) {
  for (int i = 0; i < 6; ++i) write(fmt::format("dog/{}.png", i), "");
  const std::string message = message_of([&] { open(); });
  EXPECT_NE(message.find("none of the 6 pictures of class \"dog\""), std::string::npos) << message;
  EXPECT_NE(message.find("dog/0.png: the file is empty"), std::string::npos) << message;
}

TEST_F(Skip, TrainingGoesOnAndResumesTheSame) {
  spoil();
  const TrainOptions straight = photo_options("straight"), stopped = photo_options("stopped");
  std::vector<SkippedPicture> named;
  const TrainResult whole =
      train(straight, {{}, {}, {}, {}, [&](const SkippedPicture& picture) { named.push_back(picture); }});
  EXPECT_EQ(names_of(named), spoilt_);
  EXPECT_EQ(whole.skipped, 5);
  EXPECT_EQ(whole.step, 9);  // twelve pictures, four a step
  const std::vector<std::string> log = log_of(straight);
  EXPECT_EQ(std::count_if(log.begin(), log.end(),
                          [](const std::string& line) { return Json::parse(line)["kind"] == "skip"; }),
            5);

  TrainOptions uncached = stopped;
  uncached.data.cache_bytes = 0;
  int steps = 0;
  train(uncached, {[&](const TrainProgress& p) { steps += p.phase == TrainProgress::Phase::training; },
                   {},
                   {},
                   [&] { return steps >= 4; }});
  named.clear();
  const TrainResult rest = train(resume_options(stopped.out),
                                 {{}, {}, {}, {}, [&](const SkippedPicture& p) { named.push_back(p); }});
  EXPECT_EQ(rest.skipped, 5);
  EXPECT_EQ(names_of(named), spoilt_);
  expect_same_run(straight, stopped);
}

TEST_F(Skip, ARunIsNotResumedOnOtherGoodPictures) {
  spoil();
  TrainOptions o = photo_options("run");
  o.epochs = 1;
  train(o);
  // Another picture is damaged now, with names and sizes as they were.
  const std::string size = read_file((photos_ / "cat/3.png").string());
  write("cat/3.png", std::string(size.size(), 'x'));
  EXPECT_NE(error_of(resume_options(o.out)).find("other ones that cannot be read"), std::string::npos);
}

}  // namespace skip_test
}  // namespace locant
