from dataclasses import replace

import pytest
import torch
from torch import Tensor

from specdiffd.diffusion.caches import DecoderState, Growing
from specdiffd.diffusion.config import DecoderConfig, EncoderConfig
from specdiffd.diffusion.decoder import Decoder
from specdiffd.diffusion.encoders import ContextEncoder, NotesEncoder

ENCODER = EncoderConfig(d_model=24, num_layers=2, num_heads=2, d_kv=12, d_ff=40, vocab_size=64, causal=True, scaled_attention=True)
DECODER = DecoderConfig(
    d_model=24,
    num_layers=2,
    num_heads=2,
    d_kv=12,
    d_ff=40,
    input_dims=20,
    causal=True,
    scaled_attention=True,
    stem_channels=4,
    noise_scale=0.1,
)
FRAMES = 40


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(DECODER).eval().requires_grad_(False)


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, FRAMES, 20, generator=generator), torch.randn(2, FRAMES, 20, generator=generator)


def films(decoder: Decoder, frames: int, step: int = 0):  # type: ignore[no-untyped-def]
    return decoder.schedule(torch.tensor([0.0, 1.0])).at(torch.full((1, frames), step))


def conditioning(decoder: Decoder):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(5)
    encodings = torch.randn(2, 9, 24, generator=generator)
    return decoder.condition(encodings, torch.tensor([[0, 0, 5, 5, 12, 20, 30, 39, 1 << 30]] * 2))


@pytest.mark.parametrize("cuts", [(1,) * FRAMES, (13, 1, 26), (39, 1), (40,)])
def test_chunked_equals_whole(decoder: Decoder, cuts: tuple[int, ...]) -> None:
    x, prior = inputs()
    c = conditioning(decoder)
    whole, end = decoder.step(x, prior, films(decoder, FRAMES), c, decoder.init_state(2))
    state, at, pieces = decoder.init_state(2), 0, []
    for n in cuts:
        y, state = decoder.step(x[:, at : at + n], prior[:, at : at + n], films(decoder, n), c, state)
        pieces.append(y)
        at += n
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    assert state.frames == end.frames == FRAMES


def test_going_back_is_as_if_nothing_had_come_after(decoder: Decoder) -> None:
    x, prior = inputs()
    c = conditioning(decoder)

    def known(n: int) -> DecoderState:
        return decoder.step(x[:, :n], prior[:, :n], films(decoder, n), c, decoder.init_state(2))[1]

    back, short = known(30).first(17), known(17)
    y = [decoder.step(x[:, 17:], prior[:, 17:], films(decoder, 23), c, state)[0] for state in (back, short)]
    assert torch.allclose(*y, atol=1e-5)


def test_known_frames_do_not_depend_on_the_noisy_ones_behind_them(decoder: Decoder) -> None:
    x, prior = inputs()
    c = conditioning(decoder)
    place = torch.zeros(1, FRAMES, dtype=torch.int64)
    place[:, 25:] = 1
    mixed = decoder.schedule(torch.tensor([0.0, 1.0])).at(place)
    state = decoder.step(x, prior, mixed, c, decoder.init_state(2))[1].first(25)
    _, clean = decoder.step(x[:, :25], prior[:, :25], films(decoder, 25), c, decoder.init_state(2))
    for a, b in zip((*state.images, state.keys_values), (*clean.images, clean.keys_values), strict=True):
        assert a.tensor.shape == b.tensor.shape
        assert torch.allclose(a.tensor, b.tensor, atol=1e-5)


def test_frames_see_neither_later_frames_nor_later_tokens(decoder: Decoder) -> None:
    x, prior = inputs()
    c = conditioning(decoder)
    y, _ = decoder.step(x, prior, films(decoder, FRAMES), c, decoder.init_state(2))
    changed = x.clone()
    changed[:, 20:] += 1
    z, _ = decoder.step(changed, prior, films(decoder, FRAMES), c, decoder.init_state(2))
    assert torch.allclose(y[:, :20], z[:, :20], atol=1e-5)
    assert not torch.allclose(y[:, 20:], z[:, 20:], atol=1e-3)
    louder = c._replace(keys_values=Growing(c.keys_values.tensor + 3 * (torch.arange(9) == 5)[:, None]))  # token 5: from frame 20 on
    z, _ = decoder.step(x, prior, films(decoder, FRAMES), louder, decoder.init_state(2))
    assert torch.allclose(y[:, :20], z[:, :20], atol=1e-5)
    assert not torch.allclose(y[:, 20:], z[:, 20:], atol=1e-3)


def test_the_diffusion_time_matters(decoder: Decoder) -> None:
    x, prior = inputs()
    c = conditioning(decoder)
    a, b = (decoder.step(x, prior, films(decoder, FRAMES, step), c, decoder.init_state(2))[0] for step in (0, 1))
    assert not torch.allclose(a, b, atol=1e-3)


def test_tokens_that_follow_extend_a_causal_encoder() -> None:
    torch.manual_seed(1)
    encoder = NotesEncoder(ENCODER).eval().requires_grad_(False)
    ids = torch.randint(0, 64, (2, 30))
    whole = encoder(ids)
    _, state = encoder.extend(ids[:, :20], encoder.init_state(2))
    late, _ = encoder.extend(ids[:, 12:], state.first(12))
    assert torch.allclose(late, whole[:, 12:], atol=1e-5)


def test_padding_does_not_matter() -> None:
    torch.manual_seed(1)
    encoder = (
        NotesEncoder(EncoderConfig(d_model=24, num_layers=2, num_heads=2, d_kv=12, d_ff=40, vocab_size=64)).eval().requires_grad_(False)
    )
    ids = torch.randint(1, 64, (1, 20))
    padded = torch.cat((ids, torch.zeros(1, 11, dtype=torch.int64)), 1)
    valid = torch.arange(31)[None] < 20
    assert torch.allclose(encoder(padded, valid)[:, :20], encoder(ids), atol=1e-5)


def test_context_positions_are_terminal_relative() -> None:
    torch.manual_seed(2)
    config = EncoderConfig(d_model=24, num_layers=1, num_heads=2, d_kv=12, d_ff=40, input_dims=20, targets_context_length=16)
    encoder = ContextEncoder(config).eval().requires_grad_(False)
    frames = torch.randn(1, 16, 20)
    valid = torch.arange(16)[None] >= 11
    assert torch.allclose(encoder(frames[:, 11:]), encoder(frames, valid)[:, 11:], atol=1e-5)


def test_state_dict_keys_are_those_of_the_hub() -> None:
    """Section 3 of the published format; all end in .weight and hold the published shapes."""
    notes = NotesEncoder(EncoderConfig(num_layers=1)).state_dict()
    layer = "encoders.0.layer"
    assert set(notes) == {
        "token_embedder.weight", "position_encoding.weight", "layer_norm.weight",
        *(f"{layer}.0.SelfAttention.{n}.weight" for n in "qkvo"), f"{layer}.0.layer_norm.weight",
        *(f"{layer}.1.DenseReluDense.{n}.weight" for n in ("wi_0", "wi_1", "wo")), f"{layer}.1.layer_norm.weight",
    }  # fmt: skip
    assert notes[f"{layer}.0.SelfAttention.k.weight"].shape == (768, 768)
    assert notes[f"{layer}.1.DenseReluDense.wi_1.weight"].shape == (2048, 768)
    context = ContextEncoder(EncoderConfig(num_layers=1)).state_dict()
    assert set(context) == {*set(notes) - {"token_embedder.weight"}, "input_proj.weight"}
    decoder = Decoder(DecoderConfig(num_layers=1)).state_dict()
    attention = [f"attention.{n}.weight" for n in ("to_q", "to_k", "to_v", "to_out.0")]
    assert set(decoder) == {
        "conditioning_emb.0.weight", "conditioning_emb.2.weight", "position_encoding.weight", "continuous_inputs_projection.weight",
        "decoder_norm.weight", "spec_out.weight",
        *(f"decoders.0.layer.0.{n}" for n in (*attention, "layer_norm.weight", "FiLMLayer.scale_bias.weight")),
        *(f"decoders.0.layer.1.{n}" for n in (*attention, "layer_norm.weight")),
        *(f"decoders.0.layer.2.{n}" for n in ("DenseReluDense.wi_0.weight", "DenseReluDense.wi_1.weight", "DenseReluDense.wo.weight", "film.scale_bias.weight", "layer_norm.weight")),
    }  # fmt: skip
    assert decoder["decoders.0.layer.0.FiLMLayer.scale_bias.weight"].shape == (1536, 3072)


def test_published_sizes() -> None:
    with torch.device("meta"):
        small = {"d_model": 512, "num_layers": 8, "num_heads": 6, "d_ff": 1024}
        for sizes, total in ((small, 104_035_840), ({}, 411_665_664)):
            parts = (NotesEncoder(EncoderConfig(**sizes)), ContextEncoder(EncoderConfig(**sizes)), Decoder(DecoderConfig(**sizes)))
            assert sum(p.numel() for part in parts for p in part.parameters()) == total


def test_state_dicts_survive_the_fusing_of_weights() -> None:
    torch.manual_seed(3)
    a, b = Decoder(DECODER), Decoder(DECODER)
    b.load_state_dict(a.state_dict())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)


def test_without_causality_every_frame_sees_the_whole_window() -> None:
    torch.manual_seed(0)
    both = Decoder(replace(DECODER, causal=False)).eval().requires_grad_(False)
    causal = Decoder(DECODER).eval().requires_grad_(False)
    causal.load_state_dict(both.state_dict())
    x, prior = inputs()
    later = x.clone()
    later[:, 30:] += 1
    for decoder, changes in ((both, True), (causal, False)):
        y, z = (decoder.step(v, prior, films(decoder, FRAMES), conditioning(decoder), decoder.init_state(2))[0] for v in (x, later))
        assert torch.allclose(y[:, :30], z[:, :30], atol=1e-6) != changes
