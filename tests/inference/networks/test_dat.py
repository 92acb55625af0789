"""DAT's attention, against the same said the long way."""

import torch

from inference.networks.dat_attention import Form, WindowAttention, strangers

FORM = Form(channels=32, heads=4, window=(2, 4))
CPU = torch.device("cpu")


def attention(*, is_shifted: bool) -> WindowAttention:
    torch.manual_seed(0)
    made = WindowAttention(FORM, window=FORM.window, is_shifted=is_shifted)
    torch.nn.init.normal_(made.pos.pos_proj.weight)
    made.load_state_dict(made.state_dict())  # which is when the bias is taken over
    return made.eval()


@torch.inference_mode()
def explicit(made: WindowAttention, query: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
    """What one place of (h, w, channels) attends to, its own values being the queries."""
    height, width, _ = query.shape
    rows, columns = made.window
    down, across = made.shift

    def window(row: int, column: int) -> tuple[int, int]:
        return (row - down) // rows, (column - across) // columns

    others = [
        (row, column)
        for row in range(height)
        for column in range(width)
        if window(row, column) == window(*place)
    ]
    apart = torch.tensor([[place[0] - row, place[1] - column] for row, column in others])
    biases = made.pos(apart.float())  # (places, heads)
    own = query[place].view(made.heads, -1)
    values = torch.stack([query[other] for other in others]).view(len(others), made.heads, -1)
    scores = (values * own).sum(dim=2) / own.shape[1] ** 0.5 + biases
    shares = scores.softmax(dim=0)[..., None]
    return torch.sum(shares * values, dim=0).flatten()


@torch.inference_mode()
def test_places_attend_to_their_window() -> None:
    made, maps = attention(is_shifted=False), torch.randn(2, 4, 8, 16)
    attended = made(maps, maps, maps)
    for place in ((0, 0), (1, 3), (3, 5)):
        torch.testing.assert_close(attended[1][place], explicit(made, maps[1], place))


@torch.inference_mode()
def test_a_shifted_window_does_not_reach_around_the_edges() -> None:
    made, maps = attention(is_shifted=True), torch.randn(2, 4, 8, 16)
    attended = made(maps, maps, maps)
    for place in ((0, 0), (3, 7), (1, 3), (0, 7)):
        torch.testing.assert_close(attended[0][place], explicit(made, maps[0], place))


def test_only_windows_at_the_far_edges_hold_strangers() -> None:
    masks = strangers(6, 12, (2, 4), device=CPU).view(3, 3, 8, 8)
    assert not masks[:2, :2].any()
    assert masks[2].any(dim=(1, 2)).all()
    assert masks[:, 2].any(dim=(1, 2)).all()
    assert torch.equal(masks, masks.transpose(2, 3))
