from __future__ import annotations

from xml.etree import ElementTree as ET

from edgewright.distillation.curves import svg_of
from edgewright.distillation.record import Epoch, History

SVG = "{http://www.w3.org/2000/svg}"


def history(count):
    epochs = tuple(
        Epoch(number=i + 1, loss=3.0 / (i + 1), parts=(2.0 / (i + 1), 1.0 / (i + 1)), score=i / count, rate=0.1, seconds=1.0, is_quantized=i > 3)
        for i in range(count)
    )
    return History(losses=("hinton", "labels"), measure="agreement", epochs=epochs)


def test_there_is_a_line_for_the_loss_each_term_and_the_score():
    picture = ET.fromstring(svg_of(history(5), "<teacher> & student"))

    lines = picture.findall(f"{SVG}polyline")
    assert len(lines) == 4
    assert {len(line.get("points").split()) for line in lines} == {5}
    words = [text.text for text in picture.findall(f"{SVG}text")]
    assert {"<teacher> & student", "loss", "hinton", "labels", "fake quantisation"} <= set(words)


def test_the_curves_of_no_and_of_one_epoch_can_be_drawn():
    for count in (0, 1):
        ET.fromstring(svg_of(history(count), "short"))
