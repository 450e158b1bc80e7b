"""The decoder that is trained: a lean Qwen3 whose parameter names are those of transformers.

It owns the architecture and its shape (`ModelShape`), and nothing about data or optimisation.
`export.py` loads the same state dictionary into `Qwen3ForCausalLM`, which is the reference.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Columns of ones beside the values: one is needed, sixteen keep rows aligned.
ONES = 16


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the decoder; the names are those of the Qwen3 configuration."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 576
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    max_position_embeddings: int = 2048

    def as_dict(self) -> dict[str, float]:
        """The shape as keyword arguments of `Qwen3Config`."""
        return asdict(self)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned gain."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension; the mean is taken in float32."""
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split layout that transformers uses."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention with normalised queries and keys."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        width = shape.num_attention_heads * shape.head_dim
        self.heads, self.head_dim = shape.num_attention_heads, shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, width, bias=False)
        self.o_proj = nn.Linear(width, shape.hidden_size, bias=False)
        self.q_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)
        self.k_norm = RMSNorm(shape.head_dim, shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Attend within what `mask` (ones and zeros) allows.

        Queries and keys are normalised, so scores are small enough for a softmax that subtracts no
        maximum; a column of ones beside the values sums its denominators in the same product. On a
        CPU this is faster than the built-in attention, above all in the backward pass.
        """
        batch, length, _ = x.shape
        split = (batch, length, self.heads, self.head_dim)
        query, key, value = self._joint(x).chunk(3, dim=-1)
        query, key = self.q_norm(query.reshape(split)), self.k_norm(key.reshape(split))
        query = rotate(query, cos, sin) * self.head_dim**-0.5
        query, key = query.transpose(1, 2), rotate(key, cos, sin).transpose(1, 2)
        value = value.reshape(split).transpose(1, 2)
        value = torch.cat((value, torch.ones_like(value[..., :ONES])), dim=-1)
        shares = torch.exp((query @ key.transpose(-1, -2)).float()).to(x.dtype) * mask
        mixed = shares @ value
        mixed = mixed[..., : self.head_dim] / mixed[..., self.head_dim :][..., :1]
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))

    def _joint(self, x: Tensor) -> Tensor:
        weights = (self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)
        return F.linear(x, torch.cat(weights))


class MLP(nn.Module):
    """Gated feed-forward block (SwiGLU)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate, widen, narrow."""
        both = F.linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight)))
        gate, wide = both.chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * wide)


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Attention and feed-forward, each added to the stream."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Decoder(nn.Module):
    """The language model; the output matrix is the embedding."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Stack(shape)
        self.apply(self._initialise)
        for layer in self.model.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def _rope(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        half = torch.arange(0, self.shape.head_dim, 2, device=positions.device).float()
        frequency = self.shape.rope_theta ** (-half / self.shape.head_dim)
        angle = positions[:, :, None, None].float() * frequency
        return angle.cos().to(dtype), angle.sin().to(dtype)

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor, picked: Tensor) -> Tensor:
        """Logits at the flat positions `picked` of the batch."""
        x = self.model.embed_tokens(tokens)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.bfloat16)
        cos, sin = self._rope(positions, x.dtype)
        mask = mask.to(x.dtype)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        x = self.model.norm(x).flatten(0, 1)[picked]
        return F.linear(x, self.model.embed_tokens.weight)


def packed_mask(segments: Tensor) -> Tensor:
    """Causal mask that keeps every packed dialog to itself; `segments` numbers the dialogs."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    same = segments[:, :, None] == segments[:, None, :]
    return (same & causal)[:, None]
