#include "io/picture_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"

namespace locant {
namespace picture_files_test {

namespace fs = std::filesystem;

class PictureFolder : public ::testing::Test {
 protected:
  PictureFolder() {
    std::string name = (fs::temp_directory_path() / "locant_pictures_XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~PictureFolder() override { fs::remove_all(folder_); }
  void put(const std::string& name) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << "x";
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  fs::path folder_;
};

TEST_F(PictureFolder, HoldsPicturesByNameInOrder) {
  for (const char* name : {"b.png", "a.JPG", "notes.txt", "deep/c.png", "deep/er/d.webp"}) put(name);
  EXPECT_EQ(pictures_in(folder_).pictures, (std::vector{at("a.JPG"), at("b.png")}));
  EXPECT_EQ(pictures_in(folder_, true).pictures,
            (std::vector{at("a.JPG"), at("b.png"), at("deep/c.png"), at("deep/er/d.webp")}));
}

TEST_F(PictureFolder, PassesOverWhatSystemsLeaveBehind) {
  for (const char* name : {"a.jpg", "._a.jpg", ".hidden.png", ".ipynb_checkpoints/a-checkpoint.jpg",
                           "Thumbs.db", "__MACOSX/a.jpg", "deep/.b.png", "deep/b.png"})
    put(name);
  EXPECT_EQ(pictures_in(folder_, true).pictures, (std::vector{at("a.jpg"), at("deep/b.png")}));
}

TEST_F(PictureFolder, KeepsApartWhatIsNoFile) {
  put("a.jpg");
  ASSERT_EQ(mkfifo(at("pipe.jpg").c_str(), 0600), 0);
  fs::create_symlink("nowhere", at("dangling.png"));
  fs::create_directory(at("folder.jpg"));
  const PictureFiles found = pictures_in(folder_);
  EXPECT_EQ(found.pictures, (std::vector{at("a.jpg"), at("dangling.png")}));
  EXPECT_EQ(found.others, (std::vector{at("pipe.jpg")}));
}

TEST_F(PictureFolder, ThatIsMissingIsAnError) { EXPECT_THROW(pictures_in(at("none")), Error); }

}  // namespace picture_files_test
}  // namespace locant
