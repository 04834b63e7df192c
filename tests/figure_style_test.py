"""A method looks the same in every figure."""

from inpainting_tf import figure_style


def test_methods_keep_their_colours_in_any_company():
    alone = figure_style.method_styles(["glcic"])
    together = figure_style.method_styles(["telea", "glcic", "my own", "giica"])
    assert alone["glcic"] == together["glcic"]
    assert len({style.color for style in together.values()}) == 4
    floor = figure_style.method_styles(["telea", "mean_color"])["mean_color"]
    assert floor == figure_style.method_styles(["mean_color", "mine"])["mean_color"]
    many = figure_style.method_styles([f"run {i}" for i in range(30)])
    assert len(set(many.values())) == 30
