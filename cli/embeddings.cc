#include "cli/embeddings.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "cli/train_report.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "segment/model_identity.h"
#include "segment/predictor.h"

namespace locant::cli {
namespace {

namespace fs = std::filesystem;

/// Throws Error where there is none and none can be made.
std::string cache_folder(const EmbeddingOptions& options) {
  if (!options.cache.empty()) return options.cache;
  const auto folder = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  if (const fs::path own = folder("XDG_CACHE_HOME"); own.is_absolute()) return own / "locant" / "embeddings";
  if (const fs::path home = folder("HOME"); home.is_absolute())
    return home / ".cache" / "locant" / "embeddings";
  fail("cache", "neither XDG_CACHE_HOME nor HOME names a folder");
}

void make_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);  // an error too where a file or a link to nowhere has the name
  require(!error && fs::is_directory(folder, error), "cache", "{} is no folder, and cannot be made: {}",
          folder, error ? error.message() : "something else is there");
}

/// Shows the reading of a large file once it takes over a second.
class ReadingProgress {
 public:
  ReadingProgress(const GlobalOptions& globals, const std::string& path) : globals_(globals), path_(path) {}
  void update(std::uint64_t done, std::uint64_t size) {
    if (watch_.seconds() < 1.0) return;
    if (!bar_) {
      note(globals_, "{}: reading its {} once, to know its embeddings again", path_,
           human_bytes(static_cast<double>(size)));
      bar_.emplace(globals_, "reading, MB", static_cast<std::int64_t>(size / 1000000));
    }
    bar_->update(static_cast<std::int64_t>(done / 1000000));
  }

 private:
  const GlobalOptions& globals_;
  const std::string& path_;
  Stopwatch watch_;
  std::optional<Progress> bar_;
};

std::span<const std::uint8_t> bytes_of(const MappedFile& file) {
  return {reinterpret_cast<const std::uint8_t*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

void add_embedding_options(CLI::App* sub, EmbeddingOptions& o) {
  sub->add_option("--weights", o.weights,
                  "Checkpoint of Segment Anything: official .pth, Hugging Face's, MobileSAM's")
      ->type_name("FILE")
      ->required();
  sub->add_option("--model", o.model,
                  "sam_vit_b, sam_vit_l, sam_vit_h, mobile_sam; the checkpoint tells without it")
      ->type_name("NAME");
  sub->add_option("--cache", o.cache,
                  "Folder of embeddings; without it locant/embeddings below $XDG_CACHE_HOME or ~/.cache")
      ->type_name("DIR");
  sub->add_option(
         "--image-size", o.image_size,
         "Side of the encoder's square, a multiple of 16; without it what the checkpoint was trained at")
      ->type_name("N")
      ->check(CLI::Range(16, 4096));
}

EmbeddingOptions with_image_size(EmbeddingOptions options) {
  if (options.image_size == 0) options.image_size = sam_image_size(options.weights, {.model = options.model});
  return options;
}

PictureFile::PictureFile(const std::string& path, const DecodeOptions& decode)
    : path_(path), decode_(decode) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (path == "-" || fs::is_fifo(status) || fs::is_character_file(status)) {  // read once: <(command)
    image_ = read_image(path, decode_);
    key_ = picture_key(*image_);
    return;
  }
  file_ = MappedFile::open(path);
  key_ = picture_key(bytes_of(*file_));
  if (decode.page == 1 && decode.depth16 == Depth16::high) return;
  const std::string other =
      fmt::format("{} page {} depth16 {}", key_, decode.page, static_cast<int>(decode.depth16));
  key_ = picture_key(std::span(reinterpret_cast<const std::uint8_t*>(other.data()), other.size()));
}

const Image& PictureFile::image() const {
  if (!image_) image_ = decode_image(bytes_of(*file_), path_, decode_);
  return *image_;
}

Embeddings::Embeddings(const EmbeddingOptions& options, const GlobalOptions& globals, CacheUse use, Line line)
    : options_(options), globals_(globals), use_(use), line_(std::move(line)) {
  if (options.no_cache) return;
  std::string folder;
  try {
    folder = cache_folder(options);
    make_folder(folder);
  } catch (const Error& error) {
    if (use_ == CacheUse::needed) throw;
    not_kept(error.what());
    return;
  }
  const std::int64_t side = options.image_size / 16;
  cache_.emplace(folder, EmbeddingOrigin{.model = identity(folder),
                                         .model_name = options.model,
                                         .image_size = options.image_size,
                                         .normalisation = {},
                                         .exif_orientation = true,
                                         .features = Shape{1, 256, side, side}});
}

std::string Embeddings::identity(const std::string& folder) {
  const StopSignals signals;
  ReadingProgress reading(globals_, options_.weights);
  return model_identity(options_.weights, {.memory = folder,
                                           .progress =
                                               [&](std::uint64_t done, std::uint64_t size) {
                                                 reading.update(done, size);
                                                 return !stop_requested();
                                               },
                                           .not_kept = [&](const std::string& reason) { not_kept(reason); }});
}

/// One warning, however often.
void Embeddings::not_kept(const std::string& reason) {
  keeps_ = use_ == CacheUse::needed;
  if (!warned_)
    warn(fmt::format("{}: nothing is kept for the next time (--cache DIR names another folder)", reason));
  warned_ = true;
}

std::optional<PictureEmbedding> Embeddings::find(const PictureFile& picture, bool read) const {
  if (!cache_) return std::nullopt;
  EmbeddingCache::Lookup found = read ? cache_->find(picture.key()) : cache_->check(picture.key());
  if (found.state == EmbeddingCache::State::refused)
    line_(fmt::format("{}: cached embedding not used: {}", picture.path(), found.reason));
  if (found.state != EmbeddingCache::State::fresh) return std::nullopt;
  return std::move(found.embedding);
}

PictureEmbedding Embeddings::encode(const PictureFile& picture) {
  const Image& image = picture.image();
  SamPredictor predictor(model(Sam::Parts::all).sam);
  try {
    predictor.set_image(image);
  } catch (const Error& error) {  // it knows nothing of names
    const std::string_view text = error.what();
    fail("segment", "{}: {}", picture.path(), text.substr(text.find("] ") + 2));
  }
  return predictor.embedding();
}

void Embeddings::keep(const PictureFile& picture, const PictureEmbedding& embedding) {
  if (!cache_ || !keeps_) return;
  try {
    cache_->store(picture.key(), embedding);
  } catch (const Error& error) {
    if (use_ == CacheUse::needed) throw;
    not_kept(error.what());
  }
}

std::string Embeddings::path_of(const PictureFile& picture) const {
  return cache_ ? cache_->path_of(picture.key()) : "";
}

const LoadedSam& Embeddings::model(Sam::Parts parts) {
  if (loaded_.sam != nullptr && (parts == Sam::Parts::decoder || loaded_.sam->has_image_encoder()))
    return loaded_;
  loaded_ = load_sam(options_.weights,
                     {.model = options_.model, .image_size = options_.image_size, .parts = parts});
  for (const std::string& line : loaded_.notes) line_(line);
  say_assumed(loaded_.assumed);
  return loaded_;
}

}  // namespace locant::cli
