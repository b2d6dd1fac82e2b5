"""DeiT with iRPE by its formulas: a ViT of timm, its attentions replaced. Names: microsoft/Cream."""

import math

import torch


def piecewise(x, alpha):
    """Offsets up to alpha, then their logarithm, at most 2 alpha at 8 alpha; halves to even, cut to whole numbers."""
    if abs(x) <= alpha:
        return x
    far = round(alpha + math.log(abs(x) / alpha) / math.log(8) * alpha)
    return int(math.copysign(min(far, 2 * alpha), x))


def product_buckets(rows, columns, alpha):
    """(N, N) of a class token and a grid: query minus key, row first."""
    most = int(2 * alpha)
    side = 2 * most + 1
    places = [(i // columns, i % columns) for i in range(rows * columns)]
    out = torch.full((1 + len(places),) * 2, side * side)
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            out[1 + i, 1 + j] = (piecewise(y - v, alpha) + most) * side + piecewise(x - u, alpha) + most
    return out


class Table(torch.nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.lookup_table_weight = torch.nn.Parameter(torch.zeros(shape))


class Attention(torch.nn.Module):
    """softmax(q.k + q.rK[I] + k.rQ[I^T]) (v + rV[I]), q and k scaled; contextual product, on q, k and v."""

    def __init__(self, plain, grid, alpha, tables):
        super().__init__()
        self.qkv, self.proj, self.heads, self.grid, self.alpha = plain.qkv, plain.proj, plain.num_heads, grid, alpha
        width, buckets = plain.head_dim, (2 * int(2 * alpha) + 1)**2 + 1
        self.rpe_q, self.rpe_k = Table(tables, width, buckets), Table(tables, width, buckets)
        self.rpe_v = Table(tables, buckets, width)

    def forward(self, x, **_):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = q.shape[-1]**-0.5
        bucket = product_buckets(*self.grid, self.alpha)
        on_q, on_k = (t.lookup_table_weight.transpose(1, 2)[:, b] for t, b in ((self.rpe_q, bucket.T), (self.rpe_k, bucket)))
        scores = scale * (q @ k.transpose(2, 3) + torch.einsum("bhid,hijd->bhij", q, on_k.expand(self.heads, -1, -1, -1))
                          + torch.einsum("bhjd,hijd->bhij", k, on_q.expand(self.heads, -1, -1, -1)))
        weights = scores.softmax(-1)
        on_v = self.rpe_v.lookup_table_weight[:, bucket].expand(self.heads, -1, -1, -1)
        out = weights @ v + torch.einsum("bhij,hijd->bhid", weights, on_v)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))


def with_irpe(vit, grid, alpha=1.9, shared=True):
    """Tables start at zero: to be filled."""
    for block in vit.blocks:
        block.attn = Attention(block.attn, grid, alpha, 1 if shared else block.attn.num_heads)
    return vit
