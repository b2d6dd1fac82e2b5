#include "segment/model_identity.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/tensor_file.h"

namespace locant {
namespace model_identity_test {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder of its own, gone at the end.
class ModelIdentity : public ::testing::Test {
 protected:
  ModelIdentity() {
    std::string name = (fs::temp_directory_path() / "locant-identity-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~ModelIdentity() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    write_file_atomically(path(name), std::as_bytes(std::span(text)));
    return path(name);
  }
  /// In place: the same inode and size.
  void overwrite(const std::string& name, const std::string& text) const {
    std::fstream(path(name), std::ios::binary | std::ios::in | std::ios::out) << text;
  }
  /// The identity, and whether the file was read for it. What changed before this call counts as settled.
  std::string identity(const std::string& name) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    read_ = false;
    return model_identity(path(name), {.memory = path("memory"),
                                       .progress =
                                           [this](std::uint64_t, std::uint64_t) {
                                             read_ = true;
                                             return true;
                                           },
                                       .not_kept = [this](const std::string& why) { not_kept_ = why; },
                                       .settled_s = 0.02});
  }
  std::size_t remembered() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_ / "memory"), fs::directory_iterator()));
  }

  fs::path folder_;
  bool read_ = false;
  std::string not_kept_;
};

TEST_F(ModelIdentity, IsXxh3OfTheWholeFile) {
  // xxhsum -H128 of these bytes.
  EXPECT_EQ(model_identity(write("abc", "abc")), "06b05ab6733a618578af5f94892f3950");
  std::string text;
  for (int i = 0; i < (20 << 20) + 5; ++i) text += static_cast<char>(i * 7 + i / 256);  // several pieces
  const std::string before = model_identity(write("long", text));
  EXPECT_EQ(before.size(), 32u);
  EXPECT_EQ(model_identity(write("copy of it", text)), before);  // neither name nor time counts
  for (const std::size_t at : {std::size_t{0}, std::size_t{8} << 20, text.size() / 3, text.size() - 1}) {
    text[at] ^= 1;
    EXPECT_NE(model_identity(write("other", text)), before) << at;
    text[at] ^= 1;
  }
}

TEST_F(ModelIdentity, SeesASingleBiasUnderTheSameHeader) {
  Tensor weight = Tensor::zeros(Shape({256, 256})), bias = Tensor::zeros(Shape({256}));
  const auto save = [&] { write_safetensors(path("w"), {{"w", weight}, {"b", bias}, {"z", weight}}, {}); };
  save();
  const std::string before = model_identity(path("w"));
  for (const std::int64_t at : {0, 100, 255}) {
    bias[at] += 0.125f;
    save();
    EXPECT_NE(model_identity(path("w")), before);
    bias[at] -= 0.125f;
  }
  save();
  EXPECT_EQ(model_identity(path("w")), before);
}

TEST_F(ModelIdentity, IsRememberedUntilTheFileMoves) {
  write("w", "weights 1");
  const std::string first = identity("w");
  EXPECT_TRUE(read_);
  EXPECT_EQ(identity("w"), first);
  EXPECT_FALSE(read_);

  overwrite("w", "weights 2");  // path, inode and size stay
  const std::string second = identity("w");
  EXPECT_TRUE(read_);
  EXPECT_NE(second, first);
  EXPECT_EQ(identity("w"), second);
  EXPECT_FALSE(read_);

  // The time of modification set back to what it was: the time of change tells.
  struct stat status {};
  ASSERT_EQ(::stat(path("w").c_str(), &status), 0);
  overwrite("w", "weights 3");
  const timespec times[2] = {status.st_atim, status.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path("w").c_str(), times, 0), 0);
  EXPECT_NE(identity("w"), second);

  write("w", "weights 2");  // another inode
  EXPECT_EQ(identity("w"), second);
  EXPECT_TRUE(read_);
  fs::copy_file(path("w"), path("v"));  // another path
  EXPECT_EQ(identity("v"), second);
  EXPECT_TRUE(read_);
  fs::create_symlink(path("w"), path("link"));  // the same file by another name
  EXPECT_EQ(identity("link"), second);
  EXPECT_FALSE(read_);
  EXPECT_EQ(remembered(), 2u);
  EXPECT_EQ(not_kept_, "");
}

TEST_F(ModelIdentity, OfAFileThatJustChangedIsNotRemembered) {
  write("w", "weights");
  model_identity(path("w"), {.memory = path("memory"), .settled_s = 60.0});
  EXPECT_FALSE(fs::exists(path("memory")));
}

TEST_F(ModelIdentity, DamagedMemoryIsReadPast) {
  write("w", "weights");
  const std::string right = identity("w");
  const fs::path memory = fs::directory_iterator(folder_ / "memory")->path();
  const std::string text = read_text(memory);
  std::string other = text;
  other.replace(other.find("\"xxh3_128\":\"") + 12, 1, "");
  for (const std::string& damaged : {std::string(), std::string("{"), std::string("[1]"), std::string("{}"),
                                     text.substr(0, text.size() / 2), other,
                                     std::string(R"({"locant.weights":"1","file":3,"xxh3_128":[]})")}) {
    std::ofstream(memory, std::ios::binary) << damaged;
    EXPECT_EQ(identity("w"), right);
    EXPECT_TRUE(read_) << damaged;
  }
  EXPECT_EQ(read_text(memory), text);
}

TEST_F(ModelIdentity, MemoryThatCannotBeWrittenIsSaid) {
  write("w", "weights");
  write("memory", "a file");
  const std::string right = model_identity(path("w"));
  EXPECT_EQ(identity("w"), right);
  EXPECT_NE(not_kept_, "");
  not_kept_.clear();
  fs::remove(path("memory"));
  fs::create_symlink(path("nowhere/at all"), path("memory"));
  EXPECT_EQ(identity("w"), right);
  EXPECT_NE(not_kept_, "");
}

TEST_F(ModelIdentity, StopsWhenAsked) {
  write("w", std::string(std::size_t{20} << 20, 'x'));
  std::uint64_t reached = 0;
  const IdentityOptions options{.memory = path("memory"),
                                .progress =
                                    [&](std::uint64_t done, std::uint64_t size) {
                                      EXPECT_EQ(size, std::uint64_t{20} << 20);
                                      reached = done;
                                      return done < (std::uint64_t{10} << 20);
                                    },
                                .settled_s = 0.0};
  EXPECT_THROW(model_identity(path("w"), options), Cancelled);
  EXPECT_LT(reached, std::uint64_t{20} << 20);
  EXPECT_FALSE(fs::exists(path("memory")));
}

TEST_F(ModelIdentity, OfWhatIsNoFileOrChanges) {
  EXPECT_THROW(model_identity(path("absent")), Error);
  EXPECT_THROW(model_identity(folder_.string()), Error);
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_THROW(model_identity(path("fifo")), Error);
  write("w", std::string(std::size_t{10} << 20, 'x'));
  const auto write_on = [&](std::uint64_t, std::uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    overwrite("w", "y");
    return true;
  };
  EXPECT_THROW(model_identity(path("w"), {.progress = write_on}), Error);
}

}  // namespace model_identity_test
}  // namespace locant
