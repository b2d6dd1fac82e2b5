// locant embed: image embeddings ahead of prompts, one file a picture.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "cli/decode_options.h"
#include "cli/embeddings.h"
#include "cli/picture_list.h"
#include "cli/train_report.h"
#include "cli/weights_options.h"
#include "core/error.h"

namespace locant::cli {
namespace embed_command {
namespace {

struct Options {
  EmbeddingOptions embedding;
  std::vector<std::string> pictures;
  bool json = false, strict = false;
};

int run(Options o, const GlobalOptions& globals) {
  PictureList list(globals, o.pictures, o.strict, [&](const std::string& path, const std::string& error) {
    if (o.json) out("{{\"picture\":{},\"error\":{}}}\n", json_string(path), json_string(error));
  });
  banner(globals);
  o.embedding = with_image_size(o.embedding);
  const StopSignals signals;
  Progress progress(globals, "embed", list.size());
  list.clear_before_warnings(progress);
  Embeddings embeddings(o.embedding, globals, CacheUse::needed,
                        [&](const std::string& text) { progress.line(text); });
  const ResizeLongestSide transform(o.embedding.image_size);
  std::int64_t made = 0, there = 0;
  for (const ListedPicture& listed : list.pictures()) {
    if (stop_requested()) break;
    progress.update(made + there + list.failed());
    std::optional<PictureFile> picture;
    bool fresh = false;
    // A picture that cannot be read must not cost the others; a model or a folder that cannot be is the end.
    const bool readable = list.attempt(listed, [&] {
      picture.emplace(listed.path, o.embedding.decode);
      fresh = embeddings.find(*picture, false).has_value();
      if (!fresh) transform.target_size({picture->image().rows, picture->image().columns});  // not too thin
    });
    if (list.stopped()) break;
    if (!readable) continue;
    if (!fresh) {
      PictureEmbedding embedding;
      embeddings.model(Sam::Parts::all);
      const bool encoded = list.attempt(listed, [&] { embedding = embeddings.encode(*picture); });
      if (list.stopped()) break;
      if (!encoded) continue;
      embeddings.keep(*picture, embedding);
    }
    ++(fresh ? there : made);
    if (o.json)
      out("{{\"picture\":{},\"embedding\":{},\"made\":{}{}}}\n", json_string(listed.path),
          json_string(embeddings.path_of(*picture)), !fresh,
          fresh ? "" : "," + loaded_json(embeddings.model(Sam::Parts::all)));
  }
  progress.finish();
  if (!o.json && !list.stopped())
    out("{} embedded, {} there already, {} not read\n", made, there, list.failed());
  if (stop_requested()) {
    warn("interrupted; what was made is kept, and the next run goes on from here");
    return kInterrupted;
  }
  return list.finish();
}

int run_until_interrupted(const Options& o, const GlobalOptions& globals) {
  try {
    return run(o, globals);
  } catch (const Cancelled&) {  // before the first picture
    warn("interrupted; nothing was written");
    return kInterrupted;
  }
}

}  // namespace
}  // namespace embed_command

void add_embed(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<embed_command::Options>();
  CLI::App* sub =
      add_command(app, globals, "embed", "Computes the image embeddings that `segment` answers prompts from",
                  "locant embed photos --weights sam_vit_b_01ec64.pth\n"
                  "locant embed photos --weights mobile_sam.pt --cache embeddings --json\n",
                  [options, &globals] { return run_until_interrupted(*options, globals); });
  sub->add_option("PICTURE", options->pictures, "JPEG, PNG, WebP, TIFF or PPM files, or folders of them")
      ->required();
  add_embedding_options(sub, options->embedding);
  add_decode_options(sub, globals, options->embedding.decode);
  sub->add_flag("--json", options->json, "One JSON object a picture");
  add_strict(sub, options->strict);
}

}  // namespace locant::cli
