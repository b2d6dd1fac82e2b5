// SimpleViT tensor names: ours are those of lucidrains' vit-pytorch.
#include "models/renames.h"

namespace locant {

std::vector<Renames> renames_simple_vit() {
  Renames vit_pytorch;
  vit_pytorch.naming = "vit-pytorch";
  vit_pytorch.derived = {"pos_embedding"};
  return {vit_pytorch};
}

}  // namespace locant
