#include "segment/embedding_cache.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/tensor_file.h"
#include "tests/segment/oracle.h"

namespace locant {
namespace embedding_cache_test {

using namespace testing;
namespace fs = std::filesystem;
using State = EmbeddingCache::State;

/// A folder of its own, gone at the end.
class EmbeddingCacheTest : public ::testing::Test {
 protected:
  EmbeddingCacheTest() {
    std::string name = (fs::temp_directory_path() / "locant-segment-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~EmbeddingCacheTest() override { fs::remove_all(folder_); }

  EmbeddingOrigin origin(const std::string& model = "aaaa") const {
    return {.model = model, .model_name = "sam_small", .image_size = 64, .features = Shape({1, 2, 4, 4})};
  }
  EmbeddingCache cache(const EmbeddingOrigin& from) const {
    return {(folder_ / "deep" / "er").string(), from};
  }
  PictureEmbedding embedding(float value = 0.5f) const {
    Tensor features = Tensor::full(Shape({1, 2, 4, 4}), value);
    features[5] = -1.25f;
    return {features, {30, 40}, {48, 64}};
  }
  void expect_refused(const EmbeddingCache& cache, const std::string& words) const {
    for (const bool read : {false, true}) {
      const auto found = read ? cache.find(key_) : cache.check(key_);
      EXPECT_EQ(found.state, State::refused);
      EXPECT_NE(found.reason.find(words), std::string::npos) << found.reason;
      EXPECT_EQ(found.reason.find('\n'), std::string::npos) << found.reason;
      EXPECT_FALSE(found.embedding.features.defined());
    }
  }
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    write_file_atomically(path, std::as_bytes(std::span(text)));
    return path;
  }

  fs::path folder_;
  std::string key_ = picture_key(std::vector<std::uint8_t>{1, 2, 3});
};

TEST_F(EmbeddingCacheTest, GivesBackWhatWasStored) {
  const EmbeddingCache cache = this->cache(origin());
  EXPECT_EQ(cache.find(key_).state, State::absent);
  cache.store(key_, embedding());
  EXPECT_EQ(cache.check(key_).state, State::fresh);
  const auto found = cache.find(key_);
  ASSERT_EQ(found.state, State::fresh) << found.reason;
  EXPECT_EQ(found.embedding.original, (ImageSize{30, 40}));
  EXPECT_EQ(found.embedding.input, (ImageSize{48, 64}));
  ASSERT_EQ(found.embedding.features.shape(), Shape({1, 2, 4, 4}));
  EXPECT_EQ(found.embedding.features[5], -1.25f);
  cache.store(key_, embedding(2.0f));
  EXPECT_EQ(cache.find(key_).embedding.features[0], 2.0f);
  EXPECT_EQ(found.embedding.features[0], 0.5f);  // what was lent stays as it was
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "deep" / "er"), fs::directory_iterator()), 1);
}

TEST_F(EmbeddingCacheTest, RefusesForeignAndStaleFiles) {
  const EmbeddingCache cache = this->cache(origin());
  cache.store(key_, embedding());
  expect_refused(this->cache(origin("bbbb")), "was made by other weights (sam_small, aaaa...) than these");
  EmbeddingOrigin turned = origin(), grey = origin(), large = origin(), wide = origin();
  turned.exif_orientation = false;
  grey.normalisation.mean[1] = 0.0f;
  large.image_size = 128;
  wide.features = Shape({1, 4, 4, 4});
  for (const EmbeddingOrigin& other : {turned, grey, large})
    expect_refused(this->cache(other), "its picture was prepared otherwise");
  expect_refused(this->cache(wide), "features of shape (1, 2, 4, 4) F32 where (1, 4, 4, 4)");
  const std::string path = cache.path_of(key_);
  const std::string elsewhere = cache.path_of(std::string(64, '0'));
  fs::copy_file(path, elsewhere);
  const auto renamed = cache.find(std::string(64, '0'));
  EXPECT_EQ(renamed.state, State::refused);
  EXPECT_NE(renamed.reason.find("belongs to another picture"), std::string::npos);
}

TEST_F(EmbeddingCacheTest, RefusesDamagedFiles) {
  const EmbeddingCache cache = this->cache(origin());
  cache.store(key_, embedding());
  const std::string path = cache.path_of(key_);
  const auto file = open_tensor_file(path);
  auto metadata = file->metadata();
  const auto with = [&](const char* name, const char* value) {
    auto changed = metadata;
    changed[name] = value;
    write_safetensors(path, {{"features", embedding().features}}, changed);
  };
  for (const char* format : {"1", "3"}) {
    with("locant.embedding", format);
    expect_refused(cache, std::string("has format ") + format);
  }
  with("locant.embedding.input", "48 65");
  expect_refused(cache, "its sizes do not go together");
  for (const char* size :
       {"", "30", "30 ", "30 x", "0 40", "-1 40", "99999999999999999999 1", "1 99999999999"}) {
    with("locant.embedding.original", size);
    EXPECT_EQ(cache.find(key_).state, State::refused) << size;
  }
  write_safetensors(path, {{"other", embedding().features}}, metadata);
  expect_refused(cache, "has no tensor \"features\"");
  write_safetensors(path, {{"features", embedding().features}}, {});
  expect_refused(cache, "is no embedding");
  cache.store(key_, embedding());
  fs::resize_file(path, fs::file_size(path) - 1);
  expect_refused(cache, "it cannot be read");
  fs::resize_file(path, 0);
  expect_refused(cache, "it cannot be read");
  fs::remove(path);
  fs::create_directory(path);
  expect_refused(cache, "it cannot be read");
  fs::remove(path);
  write_safetensors(path, {{"features", Tensor::full(Shape({1, 2, 4, 4}), NAN)}}, metadata);
  EXPECT_EQ(cache.find(key_).state, State::refused);
  EXPECT_NE(cache.find(key_).reason.find("it holds nan at (0, 0, 0, 0)"), std::string::npos);
}

TEST_F(EmbeddingCacheTest, LinksToNowhereHoldNothing) {
  const EmbeddingCache cache = this->cache(origin());
  fs::create_directories(folder_ / "deep");
  fs::create_symlink(folder_ / "nowhere" / "at all", folder_ / "deep" / "er");
  EXPECT_EQ(cache.find(key_).state, State::absent);
  EXPECT_THROW(cache.store(key_, embedding()), Error);
  fs::remove(folder_ / "deep" / "er");
  fs::create_directories(folder_ / "deep" / "er");
  fs::create_symlink(folder_ / "elsewhere", cache.path_of(key_));
  EXPECT_EQ(cache.find(key_).state, State::absent);
  cache.store(key_, embedding());
  EXPECT_EQ(cache.find(key_).state, State::fresh);
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere"));
}

TEST_F(EmbeddingCacheTest, RefusesToStoreWhatItWouldNotRead) {
  const EmbeddingCache cache = this->cache(origin());
  EXPECT_THROW(cache.store(key_, embedding(NAN)), Error);
  PictureEmbedding wrong = embedding();
  wrong.features = Tensor::zeros(Shape({2, 2, 4, 4}));
  EXPECT_THROW(cache.store(key_, wrong), Error);
  wrong = embedding();
  wrong.input.rows = 47;
  EXPECT_THROW(cache.store(key_, wrong), Error);
  EXPECT_THROW(cache.store(key_, {}), Error);
  EXPECT_FALSE(fs::exists(folder_ / "deep"));
  for (const std::string& key : {std::string(), std::string(63, 'a'), std::string(64, 'G'), "../" + key_})
    EXPECT_THROW(cache.find(key), Error);
  write("file", "x");
  EXPECT_THROW(EmbeddingCache((folder_ / "file").string(), origin()).store(key_, embedding()), Error);
  EXPECT_THROW(EmbeddingCache("", origin()), Error);
  EXPECT_THROW(this->cache(origin("")), Error);
}

TEST_F(EmbeddingCacheTest, SeveralProcessesShareAFolder) {
  const EmbeddingCache cache = this->cache(origin());
  std::vector<pid_t> children;
  for (int child = 0; child < 2; ++child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      for (int i = 0; i < 40; ++i) cache.store(key_, embedding(static_cast<float>(child)));
      ::_exit(0);
    }
    children.push_back(pid);
  }
  // Whatever the moment: no file, or one child's whole file.
  std::size_t fresh = 0;
  for (int running = 2; running > 0;) {
    int status = 0;
    if (::waitpid(-1, &status, WNOHANG) > 0) {
      --running;
      EXPECT_EQ(status, 0);
    }
    const auto found = cache.find(key_);
    EXPECT_NE(found.state, State::refused) << found.reason;
    if (found.state != State::fresh) continue;
    ++fresh;
    const Tensor& features = found.embedding.features;
    EXPECT_TRUE(features[0] == 0.0f || features[0] == 1.0f);
    EXPECT_EQ(features[0], features[31]);
  }
  EXPECT_GT(fresh, 0u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "deep" / "er"), fs::directory_iterator()), 1);
}

TEST_F(EmbeddingCacheTest, KeysNamePixelsAndFiles) {
  // sha256 of bytes 1 2 3.
  EXPECT_EQ(key_, "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81");
  const Image wide{1, 2, {1, 2, 3, 4, 5, 6}}, tall{2, 1, {1, 2, 3, 4, 5, 6}};
  EXPECT_NE(picture_key(wide), picture_key(tall));
  EXPECT_NE(picture_key(wide), picture_key(wide.rgb));
}

}  // namespace embedding_cache_test
}  // namespace locant
