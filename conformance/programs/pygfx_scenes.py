"""Draws with PyPI's pygfx, a renderer on wgpu, into pictures: solids under lights with shadows, transparency, lines,
points, text, a volume and picking. The pictures' hashes are printed; on one device they are the same in every run."""

import hashlib

import numpy as np
import pygfx as gfx
from rendercanvas.offscreen import OffscreenRenderCanvas

SIZE = (320, 240)


def solids():
    """Meshes with three kinds of material, two lights, a shadow."""
    scene = gfx.Scene()
    scene.add(gfx.Background.from_color("#203040", "#a0b0c0"))
    knot = gfx.Mesh(gfx.torus_knot_geometry(1, 0.3, 96, 12), gfx.MeshPhongMaterial(color="#fa5", shininess=60))
    box = gfx.Mesh(gfx.box_geometry(1, 1, 1), gfx.MeshStandardMaterial(color="#5af", roughness=0.4, metalness=0.6))
    box.local.position = (1.8, 0.8, 0)
    ball = gfx.Mesh(gfx.sphere_geometry(0.7, 24, 12), gfx.MeshNormalMaterial())
    ball.local.position = (-1.9, 0.6, 0)
    floor = gfx.Mesh(gfx.plane_geometry(12, 12), gfx.MeshPhongMaterial(color="#ccc"))
    floor.local.euler_x = -np.pi / 2
    floor.local.position = (0, -1.6, 0)
    light = gfx.DirectionalLight(intensity=2.5, cast_shadow=True)
    light.local.position = (3, 6, 4)
    for solid in (knot, box, ball):
        solid.cast_shadow = True
    floor.receive_shadow = True
    scene.add(knot, box, ball, floor, gfx.AmbientLight(intensity=0.4), light)
    return scene, perspective((0, 0.6, 5.5))


def see_through():
    """Blended quads, one behind another, with a texture that has mipmaps."""
    y, x = np.mgrid[0:64, 0:64]
    squares = np.where((x // 8 + y // 8) % 2, 255, 40).astype(np.uint8)
    texture = gfx.Texture(np.stack([squares, 255 - squares, np.full_like(squares, 90)], -1), dim=2, generate_mipmaps=True)
    scene = gfx.Scene()
    scene.add(gfx.Background.from_color("#fff"))
    for number in range(4):
        material = gfx.MeshBasicMaterial(
            map=gfx.TextureMap(texture, filter="linear", wrap="repeat"), opacity=0.5, side="both", alpha_mode="blend"
        )
        quad = gfx.Mesh(gfx.plane_geometry(2.4, 2.4), material)
        quad.local.position = (number * 0.5 - 0.8, number * 0.2 - 0.3, -number * 0.6)
        quad.local.euler_y = 0.3 * number
        scene.add(quad)
    return scene, perspective((0, 0, 4))


def plot():
    """Lines, points and text, as in a diagram."""
    scene = gfx.Scene()
    scene.add(gfx.Background.from_color("#111"))
    x = np.linspace(-3, 3, 200, dtype=np.float32)
    for number, color in enumerate(("#f55", "#5f5", "#55f")):
        positions = np.stack([x, np.sin(x * (number + 1)) * 0.8, np.zeros_like(x)], -1).astype(np.float32)
        scene.add(gfx.Line(gfx.Geometry(positions=positions), gfx.LineMaterial(thickness=3.0 + number, color=color)))
        marks = gfx.PointsMarkerMaterial(size=9, color=color, marker=("circle", "square", "diamond")[number])
        scene.add(gfx.Points(gfx.Geometry(positions=positions[::20].copy()), marks))
    label = gfx.Text(text="sin x, sin 2x, sin 3x", font_size=0.35, anchor="middle-center", material=gfx.TextMaterial("#fff"))
    label.local.position = (0, 1.4, 0)
    scene.add(label)
    return scene, gfx.OrthographicCamera(6.5, 4)


def volume():
    """A ray-marched volume from a 3D texture."""
    axis = np.linspace(-1, 1, 32, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    cloud = np.clip(1.2 - np.sqrt(x * x + y * y * 2 + z * z) + 0.2 * np.sin(9 * x) * np.cos(7 * z), 0, 1)
    material = gfx.VolumeMipMaterial(clim=(0, 1.2))
    body = gfx.Volume(gfx.Geometry(grid=gfx.Texture(cloud.astype(np.float32), dim=3)), material)
    body.local.position = (-16, -16, -16)
    scene = gfx.Scene()
    scene.add(body)
    return scene, perspective((25, 20, 45))


def perspective(position):
    camera = gfx.PerspectiveCamera(60, SIZE[0] / SIZE[1])
    camera.local.position = position
    camera.look_at((0, 0, 0))
    return camera


def main():
    for build in (solids, see_through, plot, volume):
        canvas = OffscreenRenderCanvas(size=SIZE, pixel_ratio=1)
        renderer = gfx.renderers.WgpuRenderer(canvas)
        if build is solids:
            print("device:", renderer.device.adapter.info["device"])
        scene, camera = build()
        canvas.request_draw(lambda: renderer.render(scene, camera))
        picture = np.asarray(canvas.draw())
        print(f"{build.__name__}: {picture.shape} {hashlib.sha256(picture.tobytes()).hexdigest()}")
        print(f"{build.__name__}: colours {len(np.unique(picture.reshape(-1, 4), axis=0)) > 100}")
        # What lies under the middle of the picture, from the renderer's second target.
        print(f"{build.__name__}: picked {renderer.get_pick_info((SIZE[0] // 2, SIZE[1] // 2))['rgba']}")


main()
