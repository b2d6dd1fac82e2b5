// locant segment: masks of Segment Anything from points, boxes and earlier masks, or of everything.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "cli/decode_options.h"
#include "cli/outputs.h"
#include "cli/segment_options.h"
#include "cli/segment_output.h"
#include "cli/segment_prompts.h"
#include "cli/train_report.h"
#include "core/error.h"
#include "segment/predictor.h"

namespace locant::cli {
namespace {

std::vector<SamPrompt> prompts_of(const SegmentOptions& o) {
  std::vector<SamPrompt> out;
  if (!o.prompts.empty()) {
    require(o.points.empty() && o.negative_points.empty() && o.boxes.empty() && o.mask.empty(), "segment",
            "--prompts and --point, --negative-point, --box or --mask exclude each other");
    return read_prompts(o.prompts);
  }
  SamPrompt one;
  for (const std::string& text : o.points) one.points.push_back(parse_point(text));
  one.labels.assign(one.points.size(), 1);
  for (const std::string& text : o.negative_points) one.points.push_back(parse_point(text));
  one.labels.resize(one.points.size(), 0);
  if (!o.mask.empty()) one.mask_input = read_mask_prompt(o.mask);
  require(
      o.boxes.size() <= 1 || (one.points.empty() && o.mask.empty()), "segment",
      "several boxes are prompts of their own; points or a mask beside them belong into --prompts FILE.json");
  for (const std::string& text : o.boxes) {
    out.push_back(one);
    out.back().box = {parse_box(text)};
  }
  if (o.boxes.empty()) out.push_back(one);
  return out;
}

/// One file for one mask; NAME_1.png, NAME_2.png, .. for several.
std::string numbered(const std::string& path, std::size_t n, std::size_t count) {
  if (count == 1) return path;
  const std::size_t dot = path.find_last_of('.'), slash = path.find_last_of('/');
  const bool has = dot != std::string::npos && (slash == std::string::npos || dot > slash);
  return fmt::format("{}_{}{}", has ? path.substr(0, dot) : path, n + 1, has ? path.substr(dot) : "");
}

/// All that will be written, none of it onto what is read.
Outputs outputs_of(const SegmentOptions& o, std::size_t prompts) {
  Outputs out;
  const std::size_t masks = o.everything ? 1 : prompts * (o.multimask ? 3 : 1);
  require(o.output != "-" || masks == 1, "output",
          "-o - would put {} pictures one after the other; give -o NAME.png, or ask for one mask", masks);
  for (std::size_t n = 0; n < masks && !o.output.empty(); ++n) out.add("-o", numbered(o.output, n, masks));
  out.add("--overlay", o.overlay);
  out.add("--coco", o.coco, Outputs::Kind::text);
  out.add("--logits", o.logits);
  if (o.json) out.add("--json", "-", Outputs::Kind::text);
  for (const std::string& input : {o.picture, o.embedding.weights, o.prompts, o.mask}) out.keep(input);
  return out;
}

struct Answers {
  std::vector<SegmentMask> masks;
  std::vector<std::pair<std::string, Tensor>> logits;
};

Answers answer(const SegmentOptions& o, const SamPredictor& predictor,
               const std::vector<SamPrompt>& prompts) {
  Answers out;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const SamPrediction prediction = predictor.predict(prompts[p], o.multimask);
    const std::vector<Mask> masks = prediction.masks();
    for (std::size_t m = 0; m < masks.size(); ++m)
      out.masks.push_back({.rle = mask_to_rle(masks[m]),
                           .predicted_iou = prediction.iou[static_cast<std::int64_t>(m)],
                           .prompt = static_cast<std::int64_t>(p)});
    if (o.logits.empty()) continue;
    const std::string prefix = prompts.size() == 1 ? "" : fmt::format("{}.", p);
    out.logits.emplace_back(prefix + "low_res_logits", prediction.low_res);
    out.logits.emplace_back(prefix + "logits", prediction.logits());
    out.logits.emplace_back(prefix + "iou_predictions", prediction.iou);
  }
  return out;
}

std::vector<SegmentMask> generate(const SegmentOptions& o, PointPredictor& predictor, const Image& picture,
                                  const GlobalOptions& globals) {
  const StopSignals signals;
  std::optional<Progress> bar;
  const MaskGenerator generator(predictor, o.generator);
  std::vector<SegmentMask> out;
  const auto progress = [&](const MaskGeneratorProgress& p) {
    if (!bar) bar.emplace(globals, "segment", p.points_in_all);
    bar->update(p.points, fmt::format("{} masks", p.candidates));
    return !stop_requested();
  };
  for (const MaskRecord& record : generator.generate(picture, progress))
    out.push_back({.rle = record.segmentation,
                   .predicted_iou = record.predicted_iou,
                   .prompt = -1,
                   .stability_score = record.stability_score,
                   .point_coords = record.point_coords,
                   .crop_box = record.crop_box});
  return out;
}

void write(const SegmentOptions& o, const PictureFile& picture, ImageSize size, const Answers& answers,
           const Outputs& outputs, const GlobalOptions& globals) {
  const std::vector<SegmentMask>& masks = answers.masks;
  const bool together = o.everything && !o.output.empty();  // hundreds of masks are one picture
  if (together) save_png(o.output, masks_picture(size, masks));
  for (std::size_t n = 0; n < masks.size() && !o.output.empty() && !together; ++n)
    save_png(numbered(o.output, n, masks.size()), mask_picture(rle_to_mask(masks[n].rle)));
  if (!o.overlay.empty()) save_png(o.overlay, overlay_picture(picture.image(), masks));
  if (!o.coco.empty()) save_text(o.coco, coco_json(o.picture, size, masks) + "\n");
  if (!o.logits.empty()) save_safetensors(o.logits, answers.logits, {{"picture", printable(o.picture)}});
  if (o.json) {
    out("{}\n", printable_json(coco_json(o.picture, size, masks)));
    return;
  }
  const auto say = [&](const std::string& line) {
    outputs.on_stdout() ? write_note(globals, line) : write_out(line + "\n");
  };
  if (o.everything) return say(fmt::format("{}: {} masks", printable(o.picture), masks.size()));
  for (std::size_t n = 0; n < masks.size(); ++n) {
    const PixelBox box = rle_to_box(masks[n].rle);
    say(fmt::format("prompt {}: mask of {} pixels in {},{} to {},{}, predicted IoU {:.3f}{}",
                    masks[n].prompt + 1, area_from_rle(masks[n].rle), box.x0, box.y0, box.x1, box.y1,
                    masks[n].predicted_iou,
                    o.output.empty() ? "" : " -> " + output_name(numbered(o.output, n, masks.size()))));
  }
}

int run(const SegmentOptions& o, const GlobalOptions& globals) {
  const std::vector<SamPrompt> prompts = o.everything ? std::vector<SamPrompt>() : prompts_of(o);
  require(o.everything || !prompts[0].points.empty() || !prompts[0].box.empty() ||
              prompts[0].mask_input.defined(),
          "segment",
          "nothing is asked: give --point X,Y, --box X0,Y0,X1,Y1, --prompts FILE.json or --everything");
  const bool asks = !o.points.empty() || !o.negative_points.empty() || !o.boxes.empty() ||
                    !o.prompts.empty() || !o.mask.empty() || !o.logits.empty();
  require(!o.everything || !asks, "segment",
          "--everything goes with no point, box, mask, prompts or logits: it asks by itself");
  require(!o.output.empty() || !o.overlay.empty() || !o.coco.empty() || !o.logits.empty() || o.json,
          "segment", "nowhere to write: give -o MASK.png, --overlay, --coco, --logits or --json");
  const Outputs outputs = outputs_of(o, prompts.size());

  banner(globals);
  const PictureFile picture(o.picture, o.embedding.decode);
  Embeddings embeddings(o.embedding, [&](const std::string& text) { write_note(globals, text); });
  std::optional<PictureEmbedding> embedding = embeddings.find(picture);
  const ImageSize size =
      embedding ? embedding->original : ImageSize{picture.image().rows, picture.image().columns};
  for (const SamPrompt& prompt : prompts)  // before the picture is encoded
    check_sam_prompt(prompt, size, o.embedding.image_size);
  if (!embedding) {
    const Stopwatch watch;
    embedding = embeddings.make(picture);
    note(globals, "{}: encoded by {} in {}", o.picture, embeddings.sam(Sam::Parts::decoder).variant().name,
         human_seconds(watch.seconds()));
  }
  Answers answers;
  if (o.everything) {
    // With crops every crop is a picture of its own: the encoder is needed whatever the cache holds.
    const bool crops = o.generator.crop_n_layers > 0;
    CachedPredictor predictor(embeddings.sam(crops ? Sam::Parts::all : Sam::Parts::decoder), *embedding);
    try {
      answers.masks = generate(o, predictor, picture.image(), globals);
    } catch (const Cancelled&) {
      warn("interrupted; nothing was written");
      return kInterrupted;
    }
  } else {
    SamPredictor predictor(embeddings.sam(Sam::Parts::decoder));
    predictor.set_embedding(*embedding);
    answers = answer(o, predictor, prompts);
  }
  write(o, picture, size, answers, outputs, globals);
  return kOk;
}

}  // namespace

void add_segment(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<SegmentOptions>();
  CLI::App* sub = add_command(
      app, globals, "segment", "Cuts objects out of a picture: Segment Anything's masks",
      "locant segment photo.jpg --weights sam_vit_b_01ec64.pth --point 500,375 -o mask.png\n"
      "locant segment photo.jpg --weights sam_vit_b_01ec64.pth --box 75,275,1725,850 --negative-point "
      "500,600 "
      "--overlay seen.png\n"
      "locant segment photo.jpg --weights mobile_sam.pt --everything --coco masks.json --overlay "
      "all.png\n",
      [options, &globals] { return run(*options, globals); });
  add_segment_options(sub, *options);
  add_decode_options(sub, globals, options->embedding.decode);
}

}  // namespace locant::cli
