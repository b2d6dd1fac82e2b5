#pragma once

#include <memory>
#include <string>

#include "cli/cli.h"
#include "models/sam.h"
#include "segment/embedding_cache.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// What `segment` and `embed` share.
struct EmbeddingOptions {
  std::string weights, model, cache;
  std::int64_t image_size = 1024;
  bool no_cache = false;
};
void add_embedding_options(CLI::App* sub, EmbeddingOptions& options);

/// A picture and the name that its bytes give it in a cache.
struct PictureFile {
  std::string path, key;
  Image image;
};
/// Throws Error. "-": standard input.
PictureFile read_picture(const std::string& path);

/// The folder of the options: --cache, else locant/embeddings below $XDG_CACHE_HOME or ~/.cache. Throws Error
/// when there is none of them.
EmbeddingCache open_cache(const EmbeddingOptions& options);

/// A picture's embedding, and the model to ask: the decoder alone where the embedding was in the cache.
struct EmbeddedPicture {
  std::unique_ptr<Sam> sam;
  PictureEmbedding embedding;
  bool from_cache = false;
};
/// From the cache; else made, and kept there. `whole`: the image encoder is loaded in any case.
EmbeddedPicture embed_picture(const EmbeddingOptions& options, const PictureFile& picture, bool whole,
                              const GlobalOptions& globals);

}  // namespace locant::cli
