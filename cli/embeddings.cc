#include "cli/embeddings.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "segment/model_identity.h"
#include "segment/predictor.h"

namespace locant::cli {
namespace {

namespace fs = std::filesystem;

std::string cache_folder(const EmbeddingOptions& options) {
  if (!options.cache.empty()) return options.cache;
  const auto folder = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  if (const fs::path own = folder("XDG_CACHE_HOME"); own.is_absolute()) return own / "locant" / "embeddings";
  if (const fs::path home = folder("HOME"); home.is_absolute())
    return home / ".cache" / "locant" / "embeddings";
  fail("cache", "neither XDG_CACHE_HOME nor HOME is set; give --cache DIR or --no-cache");
}

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
  sub->add_option("--image-size", o.image_size, "Side of the encoder's square, a multiple of 16")
      ->type_name("N")
      ->check(CLI::Range(16, 4096));
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

Embeddings::Embeddings(const EmbeddingOptions& options, Line line)
    : options_(options), line_(std::move(line)) {
  if (options.no_cache) return;
  const std::int64_t side = options.image_size / 16;
  cache_.emplace(cache_folder(options), EmbeddingOrigin{.model = model_identity(options.weights),
                                                        .model_name = options.model,
                                                        .image_size = options.image_size,
                                                        .normalisation = {},
                                                        .exif_orientation = true,
                                                        .features = Shape{1, 256, side, side}});
}

std::optional<PictureEmbedding> Embeddings::find(const PictureFile& picture, bool read) const {
  if (!cache_) return std::nullopt;
  EmbeddingCache::Lookup found = read ? cache_->find(picture.key()) : cache_->check(picture.key());
  if (found.state == EmbeddingCache::State::refused)
    line_(fmt::format("{}: cached embedding not used: {}", picture.path(), found.reason));
  if (found.state != EmbeddingCache::State::fresh) return std::nullopt;
  return std::move(found.embedding);
}

PictureEmbedding Embeddings::make(const PictureFile& picture) {
  SamPredictor predictor(sam(Sam::Parts::all));
  predictor.set_image(picture.image());
  if (cache_) cache_->store(picture.key(), predictor.embedding());
  return predictor.embedding();
}

std::string Embeddings::path_of(const PictureFile& picture) const {
  return cache_ ? cache_->path_of(picture.key()) : "";
}

const Sam& Embeddings::sam(Sam::Parts parts) {
  if (sam_ != nullptr && (parts == Sam::Parts::decoder || sam_->has_image_encoder())) return *sam_;
  LoadSamOptions load{.model = options_.model, .mode = WeightMode::inference, .sam = {}};
  load.sam = {.image_size = options_.image_size, .parts = parts};
  LoadedSam loaded = load_sam(options_.weights, load);
  for (const std::string& line : loaded.notes) line_(line);
  sam_ = std::move(loaded.sam);
  return *sam_;
}

}  // namespace locant::cli
