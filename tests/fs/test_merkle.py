"""BEP 52's tree: against the text of the standard, and against an implementation of others."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.fs import digests
from downloader.fs.digests import Layer, layer_of
from downloader.fs.merkle import BLOCK_BYTES, merkle_leaves, merkle_node

VECTORS = {
    (16_385, 16_384): (
        "32962f6e715dfea78a8345841650323056d5a83ba7b4f93b86a5097ead0428f2",
        "32962f6e715dfea78a8345841650323056d5a83ba7b4f93b86a5097ead0428f2",
    ),
    (100_000, 16_384): (
        "0f170b646c3ea55d3892804150c43cc86cffe31108e3762b21596a89f69d74bb",
        "097467350da24c930bea683f70b9689a43712b591d284f2860afec12f4879528",
    ),
    (65_536, 16_384): (
        "084c4f2b2614eb54ee3a256d515b79f4254d8efe7432a97b847853613253e58d",
        "5aaec11a6c43c8dcb5694ebe6a8e63e2a16ac7017dce780244ac0fd5c7e49605",
    ),
    (1_000_003, 65_536): (
        "cfe9e2b3dec358ec1fe8c6a8f593984fcf2b29592c1b82783bc379acfa945324",
        "208c2430635ae180aa7f67b78e6450e3f0a1d6801cb80cfc2aa6f08bfe850950",
    ),
    (307_200, 131_072): (
        "b44e38f2739f01e4597950a08a6957fb8fb9a2abdec62df5257867d9ced84344",
        "ab98fc2b829f4ee1e8deacf84e3ae53cfff7c9b78a849c29d7837e1f83da44ab",
    ),
    (5_242_887, 1_048_576): (
        "f8d14229f3d8740873f202cc7ad26da296fa3204883cc712afd9a1d907cd2a56",
        "ea742675787663c9ada2c528afd48e1c1e27f7e157c89425769e13f93ad38849",
    ),
    (131_073, 131_072): (
        "2b9482d8dc21f01663e872e8e241a621575c3be3b678b77223e8aa0e7b9db0fc",
        "2b9482d8dc21f01663e872e8e241a621575c3be3b678b77223e8aa0e7b9db0fc",
    ),
    (393_216, 131_072): (
        "9a97cc413e4fcaff36d08d3ea1b97deb95bf387146215b306296e5adfa4e211a",
        "b0726805b54ca504dcda1423d53ee9f979edf1ae769ec3e9e536e3e59c799fa5",
    ),
}
"""Size and piece length -> `pieces root`, and the SHA-256 of the file's `piece layers`.

Made by libtorrent 2.1.1 (Rasterbar; `create_torrent` with `v2_only`) of `content`. Where there are
two pieces the second is the SHA-256 of the very bytes that the root is the SHA-256 of.
"""
NO_LEAF = bytes(32)


def content(size: int) -> bytes:
    """Return bytes that need no file: SHA-256 of 0, 1, 2, … as 8 bytes, big endian."""
    blocks = (
        hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(size // 32 + 1)
    )
    return b"".join(blocks)[:size]


def of(data: bytes, piece_bytes: int) -> Layer:
    nodes = [
        merkle_node(
            merkle_leaves(memoryview(data)[at : at + piece_bytes]), piece_bytes // BLOCK_BYTES
        )
        for at in range(0, len(data), piece_bytes)
    ]
    return layer_of(b"".join(nodes), len(data), piece_bytes)


def naive(hashes: list[bytes]) -> bytes:
    """Return the top of the tree over so many leaves, by the standard's own words."""
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return hashlib.sha256(naive(hashes[:half]) + naive(hashes[half:])).digest()


def naive_root(data: bytes) -> str:
    found = [
        hashlib.sha256(data[at : at + BLOCK_BYTES]).digest()
        for at in range(0, len(data), BLOCK_BYTES)
    ]
    while len(found) & (len(found) - 1):
        found.append(NO_LEAF)
    return naive(found).hex()


@pytest.mark.parametrize(("size", "piece_bytes"), VECTORS)
def test_another_implementation_has_the_same_root_and_layer(size: int, piece_bytes: int) -> None:
    """Root and layer are those that libtorrent writes into a torrent of the same bytes."""
    layer = of(content(size), piece_bytes)
    root, digest_of_layer = VECTORS[size, piece_bytes]
    assert (layer.root, hashlib.sha256(layer.nodes).hexdigest()) == (root, digest_of_layer)


@given(
    blocks=st.integers(1, 40),
    offset=st.integers(-2, 2),
    shift=st.integers(0, 3),
)
def test_any_size_has_the_root_of_the_definition(blocks: int, offset: int, shift: int) -> None:
    """Around every border of a block and of a piece, the root is the one of the definition."""
    piece_bytes = BLOCK_BYTES << shift
    size = max(blocks * BLOCK_BYTES + offset, piece_bytes + 1)
    data = content(size)
    assert of(data, piece_bytes).root == naive_root(data)


def test_the_length_of_a_piece_does_not_change_the_root() -> None:
    """The root is of the file alone: layers of any height lead to it."""
    data = content(900_000)
    assert len({of(data, BLOCK_BYTES << shift).root for shift in range(5)}) == 1


@pytest.mark.parametrize("piece_bytes", [0, -BLOCK_BYTES, 8192, 3 * BLOCK_BYTES, 32 << 20, 1 << 60])
def test_no_tree_has_such_pieces(piece_bytes: int) -> None:
    """A piece is a power of two, of a block at least and of no more than is read at once."""
    with pytest.raises(ValueError):
        layer_of(bytes(64), 2 * piece_bytes, piece_bytes)


@pytest.mark.parametrize("nodes", [b"", bytes(32), bytes(63), bytes(65), bytes(96)])
def test_a_layer_has_a_node_for_each_piece(nodes: bytes) -> None:
    """Another number of nodes than the size asks for is no layer of the file."""
    with pytest.raises(ValueError):
        layer_of(nodes, 2 * BLOCK_BYTES, BLOCK_BYTES)


def test_one_wrong_bit_is_in_one_piece() -> None:
    """A piece whose bytes are others is told, and no other piece is."""
    data, piece_bytes = bytearray(content(10 * BLOCK_BYTES + 5)), 2 * BLOCK_BYTES
    layer = of(bytes(data), piece_bytes)
    data[5 * BLOCK_BYTES] ^= 1
    right = [
        layer.is_right(index, merkle_leaves(memoryview(data)[slice(*layer.span(index))]))
        for index in range(layer.count)
    ]
    assert right == [True, True, False, True, True, True]


def test_a_short_last_piece_is_not_a_longer_one() -> None:
    """A file that ends earlier than its layer says has a wrong last piece, zeros or not."""
    layer = of(bytes(3 * BLOCK_BYTES), 2 * BLOCK_BYTES)
    assert layer.is_right(1, merkle_leaves(memoryview(bytes(BLOCK_BYTES))))
    assert not layer.is_right(1, merkle_leaves(memoryview(bytes(BLOCK_BYTES - 1))))
    assert not layer.is_right(1, merkle_leaves(memoryview(bytes(2 * BLOCK_BYTES))))
    assert not layer.is_right(1, b"")


def test_our_pieces_are_no_longer_than_what_is_taken() -> None:
    """A layer that this program writes is one that it reads."""
    assert BLOCK_BYTES <= digests.PIECE_BYTES <= digests.MOST_PIECE_BYTES
