#include "cli/embeddings.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "core/error.h"
#include "io/mapped_file.h"
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

LoadedSam load(const EmbeddingOptions& options, Sam::Parts parts, const GlobalOptions& globals) {
  LoadSamOptions load{.model = options.model, .mode = WeightMode::inference, .sam = {}};
  load.sam = {.image_size = options.image_size, .parts = parts};
  LoadedSam out = load_sam(options.weights, load);
  for (const std::string& line : out.notes) write_note(globals, line);
  return out;
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

PictureFile read_picture(const std::string& path) {
  PictureFile out{path, "", {}};
  if (path == "-") {
    out.image = read_image(path);
    out.key = picture_key(out.image);
    return out;
  }
  const auto file = MappedFile::open(path);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(file->bytes().data()),
                                            file->bytes().size());
  out.key = picture_key(bytes);
  out.image = decode_image(bytes, path);
  return out;
}

EmbeddingCache open_cache(const EmbeddingOptions& options) {
  const std::int64_t side = options.image_size / 16;
  return {cache_folder(options), EmbeddingOrigin{.model = model_identity(options.weights),
                                                 .model_name = options.model,
                                                 .image_size = options.image_size,
                                                 .normalisation = {},
                                                 .exif_orientation = true,
                                                 .features = Shape{1, 256, side, side}}};
}

EmbeddedPicture embed_picture(const EmbeddingOptions& options, const PictureFile& picture, bool whole,
                              const GlobalOptions& globals) {
  EmbeddedPicture out;
  std::optional<EmbeddingCache> cache;
  if (!options.no_cache) {
    cache.emplace(open_cache(options));
    EmbeddingCache::Lookup found = cache->find(picture.key);
    if (found.state == EmbeddingCache::State::refused)
      note(globals, "cached embedding not used: {}", found.reason);
    out.from_cache = found.state == EmbeddingCache::State::fresh;
    out.embedding = std::move(found.embedding);
  }
  LoadedSam loaded = load(options, out.from_cache && !whole ? Sam::Parts::decoder : Sam::Parts::all, globals);
  out.sam = std::move(loaded.sam);
  if (out.from_cache) return out;
  const Stopwatch watch;
  SamPredictor predictor(*out.sam);
  predictor.set_image(picture.image);
  out.embedding = predictor.embedding();
  note(globals, "{}: encoded by {} in {}", picture.path, out.sam->variant().name,
       human_seconds(watch.seconds()));
  if (cache) cache->store(picture.key, out.embedding);
  return out;
}

}  // namespace locant::cli
